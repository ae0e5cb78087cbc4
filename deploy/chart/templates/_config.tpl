{{/* The configuration files of the services, as mappings; `config` of the values wins over what stands here. */}}

{{- define "kubernaut.client" -}}
datastorage:
  url: {{ include "kubernaut.datastorageUrl" . }}
  tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  {{- if .Values.tls.enabled }}
  caFile: /etc/kubernaut/datastorage-ca/ca.crt
  {{- end }}
logging: {format: json}
{{- end }}

{{- define "kubernaut.controllerConfig" -}}
controller: {metricsAddr: ":9090", healthProbeAddr: ":8081", namespace: {{ .Release.Namespace }}, replicas: {{ .Values.controller.replicas }}}
classifier:
  policyDir: /etc/signalprocessing/policies
  signalModes: /etc/signalprocessing/mappings/proactive-signal-mappings.yaml
{{ include "kubernaut.client" . }}
{{- end }}

{{- define "kubernaut.gatewayConfig" -}}
server:
  host: 0.0.0.0
  port: 8080
  {{- if .Values.tls.enabled }}
  tls: {certFile: /etc/kubernaut/tls/tls.crt, keyFile: /etc/kubernaut/tls/tls.key}
  {{- end }}
auth:
  {{- if include "kubernaut.gatewayTokens" . }}
  mode: tokens
  tokens:
    {{- range .Values.gateway.tokens.identities }}
    - {identity: {{ . }}, file: /etc/kubernaut/tokens/{{ . }}}
    {{- end }}
  {{- else }}
  mode: kubernetes
  kubernetes: {name: gateway-service, namespace: {{ .Release.Namespace }}}
  {{- end }}
{{- /* All replicas together write no more than one does by default. */}}
intake: {namespace: {{ .Release.Namespace }}, maxWritesPerSecond: {{ divf 55 .Values.gateway.replicas }}}
{{ include "kubernaut.client" . }}
{{- end }}

{{- define "kubernaut.datastorageConfig" -}}
{{- $namespace := .Release.Namespace }}
server:
  host: 0.0.0.0
  port: 8080
  {{- if .Values.tls.enabled }}
  tls: {certFile: /etc/kubernaut/tls/tls.crt, keyFile: /etc/kubernaut/tls/tls.key}
  {{- end }}
auth:
  mode: kubernetes
  kubernetes: {name: data-storage-service, namespace: {{ $namespace }}}
actors:
  "system:serviceaccount:{{ $namespace }}:signalprocessing-controller":
    actorIds: [signalprocessing-controller]
    eventCategories: [signalprocessing]
  "system:serviceaccount:{{ $namespace }}:gateway":
    actorIds: [gateway-service]
    eventCategories: [gateway]
database:
  {{- if .Values.postgresql.bundled }}
  host: kubernaut-postgresql.{{ $namespace }}.svc
  name: kubernaut
  user: kubernaut
  sslMode: disable
  {{- else }}
  {{- $url := urlParse (required "postgresql.url: give postgresql://USER@HOST:PORT/DATABASE, or set postgresql.bundled" .Values.postgresql.url) }}
  host: {{ $url.hostname }}
  {{- with splitList ":" $url.host | rest | last }}
  port: {{ . }}
  {{- end }}
  name: {{ trimPrefix "/" $url.path | required "postgresql.url: the name of the database is missing" }}
  user: {{ $url.userinfo | required "postgresql.url: the user is missing" }}
  sslMode: {{ .Values.postgresql.sslMode }}
  {{- if hasPrefix "verify" .Values.postgresql.sslMode }}
  {{- $_ := required (printf "postgresql.caSecret: name a Secret with ca.crt, which sslMode %s needs" .Values.postgresql.sslMode) .Values.postgresql.caSecret }}
  {{- end }}
  {{- if .Values.postgresql.caSecret }}
  sslRootCert: /etc/kubernaut/postgresql-ca/ca.crt
  {{- end }}
  {{- end }}
  passwordFile: /etc/kubernaut/postgresql/{{ .Values.postgresql.passwordKey }}
ledger: {keyFile: /etc/kubernaut/ledger/keys, origin: {{ include "kubernaut.origin" . }}}
{{- if .Values.valkey.enabled }}
deadLetterQueue:
  {{- if .Values.valkey.bundled }}
  host: kubernaut-valkey.{{ $namespace }}.svc
  {{- else }}
  {{- $url := urlParse (required "valkey.url: give redis://HOST:PORT/NUMBER, or set valkey.bundled" .Values.valkey.url) }}
  host: {{ $url.hostname }}
  {{- with splitList ":" $url.host | rest | last }}
  port: {{ . }}
  {{- end }}
  {{- with trimPrefix "/" $url.path }}
  database: {{ . }}
  {{- end }}
  {{- with $url.userinfo }}
  username: {{ . }}
  {{- end }}
  tls: {{ eq $url.scheme "rediss" }}
  {{- if .Values.valkey.caSecret }}
  tlsCaCert: /etc/kubernaut/valkey-ca/ca.crt
  {{- end }}
  {{- end }}
  {{- if include "kubernaut.valkeySecret" . }}
  passwordFile: /etc/kubernaut/valkey/{{ .Values.valkey.passwordKey }}
  {{- end }}
{{- end }}
logging: {format: json}
{{- end }}

{{- define "kubernaut.config" -}}
{{- mergeOverwrite (include .template .root | fromYaml) (deepCopy .config) | toYaml }}
{{- end }}
