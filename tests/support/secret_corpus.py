"""Texts with secrets, and harmless ones that look a little like it.

Every secret is made up here, character by character, so that no scanner takes this file for a leak.
"""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass

LOWER = string.ascii_lowercase + string.digits
HEX = string.digits + "abcdef"
ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
BASE64 = ALNUM + "+/"

_chance = random.Random(20261129)


def chars(alphabet: str, count: int) -> str:
    return "".join(_chance.choice(alphabet) for _ in range(count))


def uuid() -> str:
    return "-".join(chars(HEX, count) for count in (8, 4, 4, 4, 12))


@dataclass(frozen=True)
class Leak:
    """A text in which `secret` stands."""

    kind: str
    text: str
    secret: str


def _tokens() -> Iterator[tuple[str, str]]:
    """Secrets with a form of their own."""
    yield "AWS access key", "AK" + "IA" + chars(UPPER, 16)
    yield "AWS temporary key", "AS" + "IA" + chars(UPPER, 16)
    yield "Google API key", "AI" + "za" + chars(ALNUM, 35)
    yield "Google OAuth access token", "ya" + "29." + chars(ALNUM, 60)
    yield "Google OAuth client secret", "GOC" + "SPX-" + chars(ALNUM, 28)
    yield "Google refresh token", "1//" + "0" + chars(ALNUM, 40)
    yield "Azure client secret", chars(ALNUM, 3) + "8Q" + "~" + chars(ALNUM, 34)
    yield "Azure storage key", chars(BASE64, 86) + "=" + "="
    yield "DigitalOcean token", "dop" + "_v1_" + chars(HEX, 64)
    yield "DigitalOcean OAuth token", "doo" + "_v1_" + chars(HEX, 64)
    yield "Cloudflare origin CA key", "v1" + ".0-" + chars(HEX, 24) + "-" + chars(HEX, 146)
    yield "Heroku key", "HR" + "KU-" + uuid()
    yield "Fly token", "fo" + "1_" + chars(ALNUM, 43)
    yield "Netlify token", "nf" + "p_" + chars(ALNUM, 36)
    yield "Supabase token", "sb" + "p_" + chars(HEX, 40)
    yield "PlanetScale password", "pscale" + "_pw_" + chars(ALNUM, 43)
    yield "Databricks token", "da" + "pi" + chars(HEX, 32)
    yield "Tailscale key", "tskey" + "-auth-" + chars(ALNUM, 12) + "-" + chars(ALNUM, 32)
    yield "GitHub token", "gh" + "p_" + chars(ALNUM, 36)
    yield "GitHub OAuth token", "gh" + "o_" + chars(ALNUM, 36)
    yield "GitHub app token", "gh" + "s_" + chars(ALNUM, 36)
    yield "GitHub fine-grained token", "github" + "_pat_" + chars(ALNUM, 22) + "_" + chars(ALNUM, 59)
    yield "GitLab token", "gl" + "pat-" + chars(ALNUM, 20)
    yield "GitLab runner token", "gl" + "rt-" + chars(ALNUM, 20)
    yield "GitLab deploy token", "gl" + "dt-" + chars(ALNUM, 20)
    yield "Bitbucket app password", "AT" + "BB" + chars(ALNUM, 32)
    yield "Atlassian token", "ATA" + "TT3" + chars(ALNUM, 180) + "=" + chars(UPPER, 8)
    yield "npm token", "np" + "m_" + chars(ALNUM, 36)
    yield "PyPI token", "py" + "pi-" + "AgEIcHlwaS5vcmc" + chars(ALNUM, 80)
    yield "RubyGems key", "ruby" + "gems_" + chars(HEX, 48)
    yield "NuGet key", "oy" + "2" + chars(LOWER, 43)
    yield "crates.io token", "ci" + "o" + chars(ALNUM, 32)
    yield "Docker Hub token", "dckr" + "_pat_" + chars(ALNUM, 27)
    yield "Artifactory key", "AKC" + "p" + chars(ALNUM, 69)
    yield "SonarQube token", "sq" + "p_" + chars(HEX, 40)
    yield "Buildkite token", "bk" + "ua_" + chars(LOWER, 40)
    yield "CircleCI token", "CCI" + "PAT_" + chars(ALNUM, 22) + "_" + chars(HEX, 40)
    yield "Terraform Cloud token", chars(ALNUM, 14) + ".atlas" + "v1." + chars(ALNUM, 67)
    yield "Pulumi token", "pu" + "l-" + chars(HEX, 40)
    yield "Doppler token", "dp" + ".pt." + chars(ALNUM, 43)
    yield "Vault service token", "hv" + "s." + chars(ALNUM, 24)
    yield "Vault batch token", "hv" + "b." + chars(ALNUM, 90)
    yield "Vault token of version 0", "s" + "." + chars(ALNUM, 24)
    yield "Slack bot token", "xo" + "xb-" + chars(string.digits, 12) + "-" + chars(ALNUM, 24)
    yield "Slack user token", "xo" + "xp-" + chars(string.digits, 12) + "-" + chars(HEX, 32)
    yield "Slack refresh token", "xo" + "xe-1-" + chars(ALNUM, 146)
    yield "Slack app token", "xa" + "pp-1-A" + chars(UPPER, 10) + "-" + chars(HEX, 64)
    yield "Telegram bot token", chars("123456789", 10) + ":" + "AA" + chars(ALNUM, 33)
    yield "PagerDuty API token", "u" + "+" + chars(ALNUM, 18)
    yield "Grafana Cloud token", "gl" + "c_" + chars(BASE64, 60) + "="
    yield "Grafana service account token", "gl" + "sa_" + chars(ALNUM, 32) + "_" + chars(HEX, 8)
    yield "Grafana API key", "ey" + "JrIjoi" + chars(ALNUM, 60) + "="
    yield "New Relic user key", "NR" + "AK-" + chars(UPPER, 27)
    yield "New Relic licence key", chars(HEX, 36) + "NR" + "AL"
    yield "Dynatrace token", "dt" + "0c01." + chars(UPPER, 24) + "." + chars(UPPER, 64)
    yield "Sentry token", "sn" + "trys_" + chars(ALNUM, 60)
    yield "Honeycomb key", "hc" + "aik_" + chars(LOWER, 58)
    yield "Stripe secret key", "sk" + "_live_" + chars(ALNUM, 24)
    yield "Stripe restricted key", "rk" + "_live_" + chars(ALNUM, 24)
    yield "Stripe webhook secret", "wh" + "sec_" + chars(ALNUM, 32)
    yield "Square token", "sq0" + "atp-" + chars(ALNUM, 22)
    yield "Shopify token", "shp" + "at_" + chars(HEX, 32)
    yield "Plaid token", "access" + "-production-" + uuid()
    yield "Twilio key", "S" + "K" + chars(HEX, 32)
    yield "SendGrid key", "S" + "G." + chars(ALNUM, 22) + "." + chars(ALNUM, 43)
    yield "Mailgun key", "key" + "-" + chars(HEX, 32)
    yield "Mailchimp key", chars(HEX, 32) + "-u" + "s12"
    yield "OpenAI key", "s" + "k-" + chars(ALNUM, 48)
    yield "OpenAI project key", "s" + "k-proj-" + chars(ALNUM, 100)
    yield "Anthropic key", "s" + "k-ant-" + "api03-" + chars(ALNUM, 93)
    yield "Hugging Face token", "h" + "f_" + chars(ALNUM, 34)
    yield "Replicate token", "r" + "8_" + chars(ALNUM, 37)
    yield "Groq key", "gs" + "k_" + chars(ALNUM, 52)
    yield "Linear key", "lin" + "_api_" + chars(ALNUM, 40)
    yield "Notion token", "nt" + "n_" + chars(ALNUM, 46)
    yield "Airtable token", "pa" + "t" + chars(ALNUM, 14) + "." + chars(HEX, 64)
    yield "Figma token", "fig" + "d_" + chars(ALNUM, 40)
    yield "Postman key", "PM" + "AK-" + chars(HEX, 24) + "-" + chars(HEX, 34)
    yield "LaunchDarkly key", "sd" + "k-" + uuid()
    yield "age key", "AGE-" + "SECRET-KEY-1" + chars(UPPER, 58)
    yield "JSON web token", f"{'ey'}J{chars(ALNUM, 30)}.{'ey'}J{chars(ALNUM, 60)}.{chars(ALNUM, 43)}"
    yield (
        "service account token",
        "ey" + "J" + chars(ALNUM, 100) + ".ey" + "J" + chars(ALNUM, 700) + "." + chars(ALNUM, 342),
    )
    yield "bcrypt hash", "$2" + "b$12$" + chars(ALNUM, 53)
    yield "shadow hash", "$6" + "$" + chars(ALNUM, 16) + "$" + chars(ALNUM, 86)


def _private_key(kind: str) -> str:
    line = chars(BASE64, 64)
    return f"-----BEGIN {kind}-----\n{line}\n{line}\n-----END {kind}-----"


def _placed() -> Iterator[tuple[str, str, str]]:
    """Secrets without a form of their own; `@` in the text is the place."""
    secret = chars(ALNUM, 24)
    hex32 = chars(HEX, 32)
    yield (
        "Slack webhook",
        "posting to https://hooks.slack.com/services/@ failed",
        "T0" + chars(UPPER, 8) + "/B0" + chars(UPPER, 8) + "/" + secret,
    )
    yield (
        "Slack workflow",
        "https://hooks.slack.com/workflows/@",
        "T0" + chars(UPPER, 8) + "/A0" + chars(UPPER, 8) + "/" + secret,
    )
    yield "Discord webhook", "https://discord.com/api/webhooks/@", chars(string.digits, 18) + "/" + chars(ALNUM, 68)
    yield (
        "Teams webhook",
        "https://contoso.webhook.office.com/webhookb2/@",
        uuid() + "@" + uuid() + "/IncomingWebhook/" + hex32 + "/" + uuid(),
    )
    yield "Mattermost webhook", "https://chat.example.com/hooks/@", chars(LOWER, 26)
    yield "PagerDuty integration", "https://events.pagerduty.com/integration/@/enqueue", hex32
    yield "Telegram URL", "https://api.telegram.org/bot@/sendMessage", chars("123456789", 9) + ":" + chars(ALNUM, 35)
    yield "VictorOps URL", "https://alert.victorops.com/integrations/generic/20131114/alert/@/team", uuid()
    yield "Redis URL", "dial redis://:@@cache-0.cache:6379/0: timeout", secret
    yield "PostgreSQL URL", "postgres://app:@@db.shop:5432/orders?sslmode=disable", secret
    yield "URL with a password that has an at sign", "amqp://user:@@mq:5672/", "p@ss" + secret
    yield "MongoDB URL", "mongodb+srv://root:@@cluster0.mongodb.net", secret
    yield "basic auth URL", "GET https://admin:@@grafana.example.com/api/health 502", secret
    yield "Sentry DSN", "https://@@o123.ingest.sentry.io/4505", hex32
    yield (
        "Azure connection string",
        "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=@;EndpointSuffix=x",
        chars(BASE64, 60) + "==",
    )
    yield "Azure SAS", "https://shop.blob.core.windows.net/c?sv=2024-11-04&sp=r&sig=@", chars(ALNUM, 43) + "%3D"
    yield "Service Bus", "Endpoint=sb://shop/;SharedAccessKeyName=root;SharedAccessKey=@", chars(BASE64, 43) + "="
    yield "AWS secret key", "aws_secret_access_key = @", chars(BASE64, 40)
    yield "AWS presigned URL", "https://b.s3.amazonaws.com/x?X-Amz-Expires=60&X-Amz-Signature=@", chars(HEX, 64)
    yield "password in YAML", "password: @", secret
    yield "password in JSON", '{"user":"app","password":"@"}', secret
    yield "password in escaped JSON", r"{\"password\":\"@\"}", secret
    yield "password in environment", "PGPASSWORD=@ psql -h db", secret
    yield "password by suffix", "DB_PASS=@", secret
    yield "passphrase", "gpg --batch passphrase=@", secret
    yield "pwd of ODBC", "Server=db;Uid=sa;Pwd=@;", secret
    yield "password with brackets", "password=@ user=app", "(a<b{c[" + secret
    yield "password of several words", 'password="@", user="app"', "correct; horse, battery & " + secret
    yield "password in single quotes", "password: '@'", "two words" + secret
    yield "short password", "login failed: password=@", "hunter2"
    yield "client secret", "client_secret=@&grant_type=client_credentials", secret
    yield "API key in a header", "X-Api-Key: @", secret
    yield "API key in a URL", "https://api.example.com/v1?api_key=@&q=1", secret
    yield "Google key in a URL", "https://chat.googleapis.com/v1/spaces/AAA/messages?key=@", secret
    yield "token in a URL", "https://example.com/hook?token=@", secret
    yield "Datadog key", "DD_API_KEY=@", hex32
    yield "PagerDuty routing key", "routing_key: @", hex32
    yield "PagerDuty service key", "service_key: @", hex32
    yield "Opsgenie key", "Authorization: GenieKey @", uuid()
    yield "Twilio auth token", "auth_token=@", hex32
    yield "bearer header", "Authorization: Bearer @", secret
    yield "basic header", "authorization: Basic @", chars(BASE64, 24) + "="
    yield "token header", "Authorization: Token @", chars(HEX, 40)
    yield "Splunk header", "Authorization: Splunk @", uuid()
    yield "Okta header", "Authorization: SSWS @", "00" + chars(ALNUM, 40)
    yield "cookie", "Cookie: JSESSIONID=1; session_id=@", secret
    yield "curl user", "curl -sS -u admin:@ https://grafana.example.com", secret
    yield "curl long user", "curl --user 'admin:@' https://grafana.example.com", secret
    yield "mysql option", "mysql -h db -u root -p@ shop", secret
    yield "redis-cli option", "redis-cli -h cache -a @ ping", secret
    yield "password option", "vault login --password @", secret
    yield "token option", "kubeadm join 10.0.0.1:6443 --token @", chars(LOWER, 6) + "." + chars(LOWER, 16)
    yield "Docker configuration", '{"auths":{"registry.example.com":{"auth":"@"}}}', chars(BASE64, 32)
    yield "kubeconfig", "client-key-data: @", chars(BASE64, 200)
    yield "connection string", "ConnectionString=@", secret
    yield "database URL", "DATABASE_URL=@", "sqlserver.example.com/" + secret
    yield "RSA key", "key:\n@\n", _private_key("RSA PRIVATE" + " KEY")
    yield "EC key", "@", _private_key("EC PRIVATE" + " KEY")
    yield "OpenSSH key", "@", _private_key("OPENSSH PRIVATE" + " KEY")
    yield "PKCS 8 key in JSON", '{"private_key": "@"}', _private_key("PRIVATE" + " KEY").replace("\n", "\\n")
    yield "PGP key", "@", _private_key("PGP PRIVATE" + " KEY BLOCK")


def _leaks() -> Iterator[Leak]:
    for kind, secret in _tokens():
        yield Leak(kind, f"call to api.example.com with {secret} failed", secret)
        yield Leak(f"{kind} in quotes", f'value="{secret}", retrying', secret)
    for kind, text, secret in _placed():
        before, _, after = text.replace("@@", "\0@").partition("\0") if "@@" in text else text.partition("@")
        yield Leak(kind, before + secret + after, secret)


LEAKS = list(_leaks())

HARMLESS = [
    "Pod shop/api-7d4b9c6f5d-x2x9p (api) is in waiting state (reason: CrashLoopBackOff)",
    "registry.example.com/shop/api@sha256:" + chars(HEX, 64),
    "docker.io/library/postgres:17.2-alpine3.21",
    "ghcr.io/prometheus-operator/kube-rbac-proxy:v0.18.2@sha256:" + chars(HEX, 64),
    f"uid {uuid()} generation 7",
    f"trace {chars(HEX, 32)} span {chars(HEX, 16)}",
    f"commit {chars(HEX, 40)} by ci",
    f"fingerprint {chars(HEX, 64)}",
    f"resourceVersion 123456789 and hash {chars(HEX, 10)}",
    'rate(http_requests_total{job="api",code=~"5.."}[5m]) / rate(http_requests_total{job="api"}[5m]) > 0.01',
    'sum by (namespace, pod) (kube_pod_status_phase{phase!="Running"}) > 0',
    'histogram_quantile(0.99, sum(rate(apiserver_request_duration_seconds_bucket{verb="LIST"}[5m])) by (le))',
    'absent(up{job="node-exporter"} == 1)',
    'kube_secret_info{namespace="shop"}',
    "topk(3, label_replace(node_load1, 'node', '$1', 'instance', '(.*):.*'))",
    "https://runbooks.prometheus-operator.dev/runbooks/kubernetes/kubepodcrashlooping",
    "https://github.com/prometheus-operator/kube-prometheus/blob/main/manifests/kubernetesControlPlane-prometheusRule.yaml#L23",
    "https://grafana.example.com/d/efa86fd1d0c121a26444b636a3f509a8/kubernetes-compute-resources-pod?var-pod=api-0&from=now-1h",
    "http://prometheus.example.com:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
    "https://alertmanager.example.com/#/silences/new?filter=%7Balertname%3D%22Down%22%7D",
    "http://10.0.0.12:9100/metrics returned 503",
    "[::1]:8080 connection refused",
    "ssh://git@github.com/example/shop.git",
    "mailto:oncall@example.com",
    "Contact sre@example.com or +49 30 1234567",
    "serviceaccount system:serviceaccount:monitoring:prometheus-k8s",
    "basic authentication is disabled on this listener",
    "bearer authentication failed for user app",
    "the token expired two hours ago",
    "Secret shop/db-credentials does not exist",
    'MountVolume.SetUp failed for volume "kube-api-access-x2x9p" : configmap "kube-root-ca.crt" not found',
    "secretName db-credentials, key username",
    "imagePullSecrets are missing",
    "password policy requires 12 characters",
    "PodDisruptionBudget api allows 0 disruptions",
    "token-refresher-7d4b9c6f5d-abcde restarted 5 times",
    "secrets-store-csi-driver-x2x9p is not ready",
    "keycloak-0, vault-0 and cert-manager-webhook-6f7d9c are down",
    "sk-frontend-7d4b9c6f5d-x2x9p",
    "key-value-store-0",
    "hf-inference-service-predictor-00001-deployment-5c6d7f8b9c-k2m4n",
    "access-log-collector-ds-x2x9p",
    "aWRsZS1jb25uZWN0aW9ucw",
    "bmFtZXNwYWNl-7f9c",
    "nightly-report-29586120-hx7rp",
    "etcd-cp-1 10.0.0.1:2379 => 10.0.0.2:2380",
    "arn:aws:iam::123456789012:role/shop-api",
    "projects/shop-prod/locations/europe-west1/clusters/main",
    "/subscriptions/" + uuid() + "/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/node-1",
    "gke-main-default-pool-1a2b3c4d-x2x9",
    "ip-10-0-12-34.eu-central-1.compute.internal",
    "i-0abcd1234ef567890 in eu-central-1a",
    "vol-0123456789abcdef0 attached",
    "sha1 " + chars(HEX, 40) + " md5 " + chars(HEX, 32),
    "2026-11-29T20:00:00.123456789Z stderr F panic: runtime error: index out of range [3] with length 3",
    "goroutine 1 [running]: main.main() /src/main.go:42 +0x1d",
    "java.lang.OutOfMemoryError: Java heap space at com.example.Cart.add(Cart.java:17)",
    'ERROR: duplicate key value violates unique constraint "orders_pkey"',
    "DETAIL: Key (id)=(42) already exists.",
    'FATAL: password authentication failed for user "app"',
    "redis: MISCONF Redis is configured to save RDB snapshots",
    "x509: certificate has expired or is not yet valid: current time 2026-11-29T20:00:00Z",
    "-----BEGIN CERTIFICATE----- is expected",
    "container exited with code 137, signal 9",
    "docker run -u 1000:1000 --rm registry.example.com/job:1",
    "kubectl -n shop get pods -o wide --context=prod",
    "curl -sS -k https://api.shop.svc:8443/healthz",
    "helm.sh/chart=api-1.2.3, app.kubernetes.io/managed-by=Helm",
    "pod-template-hash=7d4b9c6f5d",
    "controller-revision-hash=58b6d9c5f4",
    "checksum/config=" + chars(HEX, 64),
    "topology.kubernetes.io/zone=eu-central-1a",
    "node.kubernetes.io/instance-type=m6i.large",
    "Istio: upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    "Kafka consumer group billing lags 12000 messages on topic orders-v1 partition 3",
    "disk /dev/nvme0n1p1 will fill in 4 hours",
    "CPU 93.4 %, memory 7.2GiB of 8GiB",
    "quota: requests.cpu=4, limits.memory=16Gi",
    "v1.31.4-gke.1183000",
    "go1.25.1 linux/amd64",
    "Linux node-1 6.8.0-1019-aws #21-Ubuntu SMP x86_64",
    "rr-1f0c9a7be2d4-5a3b9c01 and sp-rr-1f0c9a7be2d4-5a3b9c01",
    "severity=critical, team=payments, tier=frontend",
    "SELECT count(*) FROM orders WHERE state = 'open'",
    "SLO burn rate is 14.4x over 1h and 5m",
    "Spaß und Grüße aus München 🚨",
    "пользователь не найден",
    "ポッドが再起動しました",
    "{{ $labels.namespace }}/{{ $labels.pod }} has been restarting",
    "PGPASSWORD=$DB_PASSWORD psql",
    "password: ${DB_PASSWORD}",
    "token=***",
    "api_key: <redacted>",
    'password="[REDACTED]", user="app"',
    "credentials: (none)",
    "secret: none",
    "tls: bad certificate, no client cert",
    "OIDC issuer https://login.example.com/realms/shop is unreachable",
    "error 401 Unauthorized: invalid_token",
    "oauth2-proxy returns 403 for /api",
    "AKIA is the prefix of an access key id",
    "ghp_ tokens are rejected",
    "eyJ is how a JSON web token begins",
    "job=kube-state-metrics endpoint=http instance=10.42.0.17:8080",
    "uptime 41 days, 3:02, load average: 0.08, 0.03, 0.01",
]
"""Texts of alerts, events and logs without a secret; each must stay as it is."""
