"""How secrets look. Google RE2 matches the patterns, in linear time; they therefore have no look-around.

A token is recognised by the prefix that its issuer gives it, whatever stands beside it. A value without such a form is
recognised by the name that it is assigned to.
"""

_HEX = "[0-9a-fA-F]"
_UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"

TOKENS: dict[str, str] = {
    # Keys and signed tokens, whoever issues them.
    "PEM private key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*-----|\z)",
    "PuTTY key": r"PuTTY-User-Key-File-\d(?s:.*)\z",
    "age": r"\bAGE-SECRET-KEY-1[A-Z0-9]{40,}",
    "JWT": r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",
    "password hash": r"\$(?:2[abxy]|5|6|y|argon2(?:id?|d))\$[\w./+=,$-]{20,}",
    # Clouds.
    "AWS": r"\b(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}\b",
    "Google": r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}|\b1//0[\w-]{20,}",
    "Azure": r"\b[\w~.-]{3}\dQ~[\w~.-]{31,34}|[A-Za-z0-9+/]{86}==",
    "DigitalOcean": r"\bdo[opr]_v1_[a-f0-9]{64}",
    "Cloudflare": r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{100,}",
    "Heroku": r"\bHRKU-[\w-]{36,}",
    "Fly": r"\bfo1_[\w-]{40,}|\bfm[12]r?_[A-Za-z0-9+/=]{40,}",
    "Netlify": r"\bnf[pcou]_[A-Za-z0-9]{36,}",
    "Supabase": r"\bsbp_[a-f0-9]{40}|\bsb_secret_[\w-]{20,}",
    "PlanetScale": r"\bpscale_(?:tkn|pw|oauth)_[\w=.-]{32,}",
    "Databricks": r"\bdapi[a-f0-9]{32}",
    "Tailscale": r"\btskey-[a-z]+-[\w-]{20,}",
    # Code, packages and builds.
    "GitHub": r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}",
    "GitLab": r"\bgl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct)-[\w-]{20,}|\bGR1348941[\w-]{20}",
    "Bitbucket, Atlassian": r"\bAT(?:ATT|CTT|BB)[\w=-]{24,}",
    "npm": r"\bnpm_[A-Za-z0-9]{36,}",
    "PyPI": r"\bpypi-[\w-]{50,}",
    "RubyGems": r"\brubygems_[a-f0-9]{48}",
    "NuGet": r"\boy2[a-z0-9]{43}\b",
    "crates.io": r"\bcio[a-zA-Z0-9]{32}\b",
    "Docker": r"\bdckr_(?:pat|oat)_[\w-]{20,}",
    "Artifactory": r"\bAKCp[A-Za-z0-9]{60,}|\bcmVmdGtu[A-Za-z0-9]{50,}",
    "Sonar": r"\bsq[upa]_[a-f0-9]{40}",
    "Buildkite, CircleCI": r"\bbku?a_[a-z0-9]{40}|\bCCIPAT_\w{20,}",
    "Terraform, Pulumi": r"\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}|\bpul-[a-f0-9]{40}",
    "Doppler, Vault": r"\bdp\.[a-z]+\.[A-Za-z0-9.]{40,}|\bhv[sbr]\.[\w-]{20,}|\bs\.[A-Za-z0-9]{24}\b",
    "1Password": r"\bops_eyJ[\w+/=-]{40,}",
    # Chat and paging.
    "Slack": r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{10,}|\bxapp-\d-[\w-]{10,}",
    "Telegram": r"\b(?:bot)?\d{8,10}:[A-Za-z0-9_-]{35}\b",
    "PagerDuty": r"\bu\+[\w-]{18}\b",
    # Telemetry.
    "Grafana": r"\bglc_[A-Za-z0-9+/]{32,}={0,3}|\bglsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|\beyJrIjoi[\w=-]{40,}",
    "New Relic": r"\bNR(?:AK|JS|RA|II)-[A-Za-z0-9_-]{19,}|\b[a-f0-9]{36}NRAL\b",
    "Dynatrace": r"\bdt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}",
    "Sentry": r"\bsntry[su]_[\w+/=]{40,}",
    "Honeycomb": r"\bhc[a-z]ik_[a-z0-9]{58}",
    # Payment and mail.
    "Stripe": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9+/=]{20,}",
    "Square": r"\bsq0[a-z]{3}-[\w-]{22,}|\bEAAA[\w-]{56,}",
    "Shopify": r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    "Plaid": rf"\baccess-(?:sandbox|development|production)-{_UUID}",
    "Twilio": r"\bSK[0-9a-f]{32}\b",
    "SendGrid": r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    "Mailgun, Mailchimp": r"\bkey-[0-9a-f]{32}\b|\b[0-9a-f]{32}-us\d{1,2}\b",
    # Models.
    "OpenAI, Anthropic": r"\bsk-(?:proj|svcacct|admin|ant)-[\w-]{20,}|\bsk-[A-Za-z0-9]{32,}\b",
    "Hugging Face, Replicate": r"\bhf_[A-Za-z0-9]{30,}|\br8_[A-Za-z0-9]{37}\b",
    "Groq, xAI, Perplexity": r"\bgsk_[A-Za-z0-9]{50,}|\bxai-[A-Za-z0-9]{70,}|\bpplx-[A-Za-z0-9]{48,}",
    # Further services.
    "Linear, Notion": r"\blin_(?:api|oauth)_[A-Za-z0-9]{40,}|\bntn_[A-Za-z0-9]{40,}|\bsecret_[A-Za-z0-9]{43}\b",
    "Airtable, Figma": r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{64}|\bfigd_[\w-]{40,}",
    "Postman": r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}",
    "Dropbox": r"\bsl\.[\w-]{100,}",
    "LaunchDarkly": rf"\b(?:sdk|api)-{_UUID}",
    "Facebook": r"\bEAA[A-Za-z0-9]{80,}",
}
"""Secrets that are recognised by themselves."""

PREFIXED: tuple[str, ...] = (
    # Addresses that are secrets themselves: whoever knows them may post.
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/",
    r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/",
    r"\.webhook\.office\.com/webhookb2/|outlook\.office(?:365)?\.com/webhook/",
    r"hooks\.zapier\.com/hooks/catch/",
    r"events\.(?:eu\.)?pagerduty\.com/(?:integration/|x-ere/)",
    r"alert\.victorops\.com/integrations/generic/\d+/alert/",
    r"api\.telegram\.org/bot",
    r"/hooks/",
)
"""What stands in front of a secret part of a URL."""

_KEY_OF = (
    "account|shared[-_. ]?access|shared|primary|secondary|master|signing|encryption|license|licence|routing|integration"
    "|api|access|private|secret|auth|session|storage|subscription|ingest|app|consumer|instrumentation|write|admin"
    "|service|deploy|host|ssh|rsa|gpg|webhook|client|user"
)
NAMES = (
    r"passw(?:or)?d|passwort|passwd|pass[-_ ]?phrase|pwd|[-_.]pass|secret|token|bearer|credentials?|cookie"
    r"|session[-_]?id"
    rf"|(?:{_KEY_OF})[-_. ]?key|connection[-_. ]?string|database[-_.]?url|\bdsn|client-key-data|x-amz-signature"
    r"|x-goog-signature"
)
"""How the name of a secret value ends."""

SUFFIXES = r"(?:[-_.]?(?:value|hash|data|text|plain|base64|b64|string|\d+))?"
"""What may follow the name."""
