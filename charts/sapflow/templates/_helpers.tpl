{{- define "sapflow.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "sapflow.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "sapflow.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sapflow.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sapflow.operator" -}}
{{ include "sapflow.fullname" . }}-operator
{{- end }}

{{- define "sapflow.minio" -}}
{{ include "sapflow.fullname" . }}-minio
{{- end }}

{{/* What selects a component's pods: nothing that an upgrade changes. */}}
{{- define "sapflow.selector" -}}
app.kubernetes.io/name: {{ include "sapflow.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "sapflow.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "sapflow.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: sapflow
{{- end }}

{{- define "sapflow.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "sapflow.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "sapflow.operator" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The store of jobs that name none: its endpoint, or nothing where there is none. */}}
{{- define "sapflow.endpoint" -}}
{{- if .Values.minio.enabled }}
{{- printf "http://%s.%s.svc.cluster.local:9000" (include "sapflow.minio" .) .Release.Namespace }}
{{- else }}
{{- .Values.objectStorage.endpoint }}
{{- end }}
{{- end }}

{{- define "sapflow.storageSecret" -}}
{{ .Values.objectStorage.existingSecret | default (printf "%s-storage" (include "sapflow.fullname" .)) }}
{{- end }}

{{- define "sapflow.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What the operator's image is told: the operator itself, the hooks and the test read the same. */}}
{{- define "sapflow.environment" -}}
{{- range $role := list "operator" "worker" "merger" "preparer" "server" }}
{{- $image := index $.Values.images $role }}
- name: SAPFLOW_{{ upper $role }}_IMAGE
  value: {{ include "sapflow.image" (dict "root" $ "image" $image) | quote }}
- name: SAPFLOW_{{ upper $role }}_PULL_POLICY
  value: {{ $image.pullPolicy }}
{{- end }}
{{- with include "sapflow.endpoint" . }}
- name: SAPFLOW_S3_ENDPOINT
  value: {{ . | quote }}
- name: SAPFLOW_S3_BUCKET
  value: {{ $.Values.objectStorage.bucket | quote }}
- name: SAPFLOW_S3_REGION
  value: {{ $.Values.objectStorage.region | quote }}
- name: SAPFLOW_S3_ACCESS_KEY_FILE
  value: /etc/sapflow/storage/access-key
- name: SAPFLOW_S3_SECRET_KEY_FILE
  value: /etc/sapflow/storage/secret-key
{{- end }}
- name: SAPFLOW_CREDENTIALS_SECONDS
  value: {{ .Values.objectStorage.credentialsSeconds | int | quote }}
- name: SAPFLOW_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: SAPFLOW_STORE_NETWORKS
  value: {{ include "sapflow.storeNetworks" . | quote }}
- name: SAPFLOW_KNATIVE_NAMESPACE
  value: {{ .Values.knative.namespace }}
- name: SAPFLOW_GATEWAY_NAMESPACES
  value: {{ join "," .Values.networkPolicy.gatewayNamespaces | quote }}
- name: SAPFLOW_METRICS_NAMESPACES
  value: {{ join "," (prepend .Values.networkPolicy.metricsNamespaces .Release.Namespace | uniq) | quote }}
- name: SAPFLOW_MAX_RUNNING_JOBS
  value: {{ .Values.maxRunningJobs | int | quote }}
- name: SAPFLOW_DELETION_SECONDS
  value: {{ .Values.deletionTimeoutSeconds | int | quote }}
- name: SAPFLOW_WINDOW_SECONDS
  value: {{ .Values.functions.windowSeconds | int | quote }}
- name: SAPFLOW_MAX_INVOCATION_SECONDS
  value: {{ .Values.functions.maxInvocationSeconds | int | quote }}
- name: SAPFLOW_MAX_MEMORY
  value: {{ .Values.functions.maxMemory | quote }}
- name: SAPFLOW_MAX_INSTANCES
  value: {{ .Values.functions.maxInstances | int | quote }}
- name: SAPFLOW_DRIVER_MEMORY
  value: {{ .Values.driver.memory | quote }}
- name: SAPFLOW_IMAGE_PULL_SECRETS
  value: {{ join "," .Values.imagePullSecrets | quote }}
- name: SAPFLOW_LIVENESS_PORT
  value: "8080"
- name: SAPFLOW_METRICS_PORT
  value: "9090"
- name: SAPFLOW_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end }}

{{/* Where stores are, for the policies of functions, as JSON: the chart's MinIO is known. */}}
{{- define "sapflow.storeNetworks" -}}
{{- $stores := .Values.networkPolicy.stores }}
{{- if .Values.minio.enabled }}
{{- $labels := include "sapflow.selector" (dict "root" . "component" "minio") | fromYaml }}
{{- $own := dict "endpoint" (include "sapflow.endpoint" .) "ports" (list 9000) "podLabels" $labels
      "namespaceLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $stores = append $stores $own }}
{{- end }}
{{- toJson $stores }}
{{- end }}

{{- define "sapflow.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "sapflow.endpoint" . }}
- name: storage
  mountPath: /etc/sapflow/storage
  readOnly: true
{{- end }}
{{- end }}

{{- define "sapflow.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if include "sapflow.endpoint" . }}
- name: storage
  secret:
    secretName: {{ include "sapflow.storageSecret" . }}
    # Missing, it is named in the log of what reads it; otherwise the pod would wait without a word.
    optional: true
    defaultMode: 0440
    items:
      - {key: access-key, path: access-key}
      - {key: secret-key, path: secret-key}
{{- end }}
{{- end }}

{{/* The pod of a hook or a test: a module of the operator's image, run once. */}}
{{- define "sapflow.oncePod" -}}
restartPolicy: {{ .restartPolicy | default "Never" }}
serviceAccountName: {{ .serviceAccount }}
{{- with include "sapflow.pullSecrets" .root }}
{{ . }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "sapflow.image" (dict "root" .root "image" .root.Values.images.operator) | quote }}
    imagePullPolicy: {{ .root.Values.images.operator.pullPolicy }}
    command: {{ toJson .command }}
    env:
      {{- include "sapflow.environment" .root | trim | nindent 6 }}
    resources:
      {{- toYaml .root.Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml .root.Values.securityContext | nindent 6 }}
    volumeMounts:
      {{- include "sapflow.mounts" .root | nindent 6 }}
volumes:
  {{- include "sapflow.volumes" .root | nindent 2 }}
{{- end }}

{{- /* true where the operator may read nodes and volumes, which lie in no namespace. */ -}}
{{- define "sapflow.seesNodes" -}}
{{- if kindIs "bool" .Values.rbac.nodes }}{{ .Values.rbac.nodes }}{{ else }}{{ empty .Values.watchNamespaces }}{{ end }}
{{- end }}
