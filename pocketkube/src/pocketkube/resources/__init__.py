"""Which resources are served: built-in kinds, custom resource definitions, and the rules of their objects."""
