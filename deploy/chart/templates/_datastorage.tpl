{{- define "kubernaut.datastorageFile" -}}
{{ include "kubernaut.config" (dict "root" . "template" "kubernaut.datastorageConfig" "config" .Values.datastorage.config) }}
{{- end }}

{{- define "kubernaut.gatewayFile" -}}
{{ include "kubernaut.config" (dict "root" . "template" "kubernaut.gatewayConfig" "config" .Values.gateway.config) }}
{{- end }}

{{- define "kubernaut.datastorageMounts" -}}
- {name: config, mountPath: /etc/datastorage/config.yaml, subPath: config.yaml, readOnly: true}
- {name: postgresql, mountPath: /etc/kubernaut/postgresql, readOnly: true}
- {name: ledger, mountPath: /etc/kubernaut/ledger, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/kubernaut/tls, readOnly: true}
{{- end }}
{{- if and .Values.postgresql.caSecret (not .Values.postgresql.bundled) }}
- {name: postgresql-ca, mountPath: /etc/kubernaut/postgresql-ca, readOnly: true}
{{- end }}
{{- if and .Values.valkey.enabled (include "kubernaut.valkeySecret" .) }}
- {name: valkey, mountPath: /etc/kubernaut/valkey, readOnly: true}
{{- end }}
{{- if and .Values.valkey.enabled .Values.valkey.caSecret (not .Values.valkey.bundled) }}
- {name: valkey-ca, mountPath: /etc/kubernaut/valkey-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "kubernaut.datastorageVolumes" -}}
- {name: config, configMap: {name: data-storage-config}}
- {name: postgresql, secret: {secretName: {{ include "kubernaut.postgresqlSecret" . }}, defaultMode: 0440}}
- {name: ledger, secret: {secretName: {{ include "kubernaut.ledgerSecret" . }}, defaultMode: 0440}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- if .Values.tls.enabled }}
- {name: tls, secret: {secretName: {{ include "kubernaut.datastorageTls" . }}, defaultMode: 0440}}
{{- end }}
{{- if and .Values.postgresql.caSecret (not .Values.postgresql.bundled) }}
- {name: postgresql-ca, secret: {secretName: {{ .Values.postgresql.caSecret }}}}
{{- end }}
{{- if and .Values.valkey.enabled (include "kubernaut.valkeySecret" .) }}
- {name: valkey, secret: {secretName: {{ include "kubernaut.valkeySecret" . }}, defaultMode: 0440}}
{{- end }}
{{- if and .Values.valkey.enabled .Values.valkey.caSecret (not .Values.valkey.bundled) }}
- {name: valkey-ca, secret: {secretName: {{ .Values.valkey.caSecret }}}}
{{- end }}
{{- end }}

{{- define "kubernaut.migration" -}}
backoffLimit: 10
ttlSecondsAfterFinished: 86400
template:
  metadata:
    labels: {{- include "kubernaut.selector" (dict "root" .root "component" "migrate") | nindent 6 }}
  spec:
    restartPolicy: OnFailure
    automountServiceAccountToken: false
    securityContext: {{- include "kubernaut.podSecurity" .root | nindent 6 }}
    {{- with .root.Values.image.pullSecrets }}
    imagePullSecrets: {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "kubernaut.image" (dict "root" .root "component" "datastorage") }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        command: [kubernaut, migrate, --stage, {{ .stage }}, --config, /etc/datastorage/config.yaml]
        securityContext: {{- include "kubernaut.containerSecurity" .root | nindent 10 }}
        resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
        volumeMounts: {{- include "kubernaut.datastorageMounts" .root | nindent 10 }}
    volumes: {{- include "kubernaut.datastorageVolumes" .root | nindent 6 }}
{{- end }}
