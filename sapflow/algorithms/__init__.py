"""How contributions are made, summed and applied: one module an algorithm; merging, root and optimisers beside."""
