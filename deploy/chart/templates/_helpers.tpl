{{- define "kubernaut.labels" -}}
app.kubernetes.io/name: kubernaut
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "kubernaut.selector" -}}
app.kubernetes.io/name: kubernaut
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "kubernaut.image" -}}
{{ .root.Values.image.registry }}/kubernaut-{{ .component }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Cluster-scoped names hold the namespace, so that two namespaces may have a release each. */}}
{{- define "kubernaut.clusterName" -}}
kubernaut-{{ .root.Release.Namespace }}-{{ .name }}
{{- end }}

{{- define "kubernaut.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "kubernaut.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "kubernaut.scheduling" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kubernaut.spread" -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    # Only hosts are enforced: a cluster may have one zone.
    whenUnsatisfiable: {{ eq $key "kubernetes.io/hostname" | ternary $.values.topologySpread "ScheduleAnyway" }}
    labelSelector:
      matchLabels: {{- include "kubernaut.selector" $ | nindent 8 }}
{{- end }}
{{- end }}

{{/* Startup gets five minutes: DataStorage waits for PostgreSQL, and caches of a large cluster take their time. */}}
{{- define "kubernaut.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "kubernaut.scheme" -}}{{ .Values.tls.enabled | ternary "https" "http" }}{{- end }}
{{- define "kubernaut.datastorageUrl" -}}
{{ include "kubernaut.scheme" . }}://data-storage-service.{{ .Release.Namespace }}.svc:8080
{{- end }}
{{- define "kubernaut.datastorageTls" -}}{{ .Values.tls.datastorageSecret | default "data-storage-tls" }}{{- end }}
{{- define "kubernaut.gatewayTls" -}}{{ .Values.tls.gatewaySecret | default "gateway-tls" }}{{- end }}
{{- define "kubernaut.ledgerSecret" -}}{{ .Values.ledger.existingSecret | default "kubernaut-ledger-keys" }}{{- end }}
{{- define "kubernaut.origin" -}}{{ .Values.ledger.origin | default (printf "%s/kubernaut" .Release.Namespace) }}{{- end }}
{{- define "kubernaut.postgresqlSecret" -}}
{{- if .Values.postgresql.bundled }}kubernaut-postgresql{{ else }}
{{- required "postgresql.existingSecret: name a Secret with the password, or set postgresql.bundled" .Values.postgresql.existingSecret }}
{{- end }}
{{- end }}
{{- define "kubernaut.valkeySecret" -}}
{{- .Values.valkey.bundled | ternary "kubernaut-valkey" .Values.valkey.existingSecret }}
{{- end }}

{{/* The bytes of a password that an earlier install made, or new ones. */}}
{{- define "kubernaut.password" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name }}
{{- if $found }}{{ index $found.data "password" }}{{ else }}{{ randAlphaNum 32 | b64enc }}{{ end }}
{{- end }}

{{/* The Secret with the senders' static tokens; empty where senders have accounts. */}}
{{- define "kubernaut.gatewayTokens" -}}
{{- .Values.gateway.tokens.secret | default (empty .Values.gateway.tokens.identities | ternary "" "gateway-tokens") }}
{{- end }}

{{- define "kubernaut.spool" -}}
{{- if .values.spool.persistent -}}
volumeClaimTemplates:
  - metadata:
      name: spool
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .values.spool.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .values.spool.size }}}}
{{- end }}
{{- end }}

{{- define "kubernaut.budget" -}}
{{- if gt (int .values.replicas) 1 }}
---
apiVersion: {{ .root.Capabilities.APIVersions.Has "policy/v1" | ternary "policy/v1" "policy/v1beta1" }}
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels: {{- include "kubernaut.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.maxUnavailable }}
  selector:
    matchLabels: {{- include "kubernaut.selector" . | nindent 6 }}
{{- end }}
{{- end }}
