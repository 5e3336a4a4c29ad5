"""Knative's kind of Services, for API servers without Knative."""

ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
KNATIVE = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "services.serving.knative.dev"},
    "spec": {
        "group": "serving.knative.dev",
        "names": {"kind": "Service", "plural": "services", "singular": "service"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": ANY, "status": ANY}}},
                "subresources": {"status": {}},
            }
        ],
    },
}
"""The kind of Knative's Services, which take any spec here."""
