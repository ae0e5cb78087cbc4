"""Every word that crosses a process: CRD types, audit events, request and response bodies, problems."""
