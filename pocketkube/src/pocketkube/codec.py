"""JSON and YAML: the one encoder and decoder of the server."""

from typing import Any

import msgspec
import yaml

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode
DecodeError = msgspec.DecodeError


def decode_yaml(body: bytes) -> Any:
    """Return the value of a YAML document; raise a ValueError for one that is malformed."""
    try:
        return yaml.load(body, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
