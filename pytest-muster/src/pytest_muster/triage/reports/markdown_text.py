"""Foreign text in Markdown: it is text or code there, and never markup."""

import re


def text(text: str) -> str:
    """Foreign text in a line of prose: what is between backticks is code, and there is no other markup of its own."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick without its other half is a backtick
        return _escaped("`".join(parts))
    return "".join(code(part) if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def code(text: str) -> str:
    """Foreign text as code in a line; as many backticks around it as it needs."""
    plain = " ".join(text.split()) or " "
    fence = "`" * (max((len(run) for run in re.findall(r"`+", plain)), default=0) + 1)
    inner = f" {plain} " if plain.startswith("`") or plain.endswith("`") else plain
    return f"{fence}{inner}{fence}"


def block(text: str) -> list[str]:
    fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    return [f"{fence}text", *text.splitlines(), fence]
