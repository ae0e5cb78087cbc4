"""Rules about ports and hosts."""

import ast
import re
from collections.abc import Iterator

from pytest_muster.checking.rules import Hit, Level, Rule
from pytest_muster.checking.source import Role, Source, walk

_LISTENS = {
    "bind", "listen", "serve", "run", "start", "start_server", "create_server", "serve_forever", "make_server",
    "TCPSite", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "ThreadingTCPServer", "UDPServer", "WSGIServer",
    "Server", "start_http_server", "run_server", "listen_on", "WebServer",
}  # fmt: skip
_CONNECTS = {"connect", "create_connection", "open_connection", "connect_ex", "Redis", "Client", "HTTPConnection"}
_STARTS = {
    "Popen", "run", "call", "check_call", "check_output", "start", "spawn", "exec", "create_subprocess_exec",
    "create_subprocess_shell", "system",
}  # fmt: skip
_LOCAL = r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1?\]|0\.0\.0\.0)"
_URL = re.compile(rf"^[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?{_LOCAL}:(\d+)(?:[/?#]|$)", re.IGNORECASE)
_HOST_PORT = re.compile(rf"^{_LOCAL}:(\d+)$", re.IGNORECASE)
_PORT_WORD = re.compile(r"^--?[a-z-]*port[= ](\d+)$|^-p[= ]?(\d+)$")
_LOCALHOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?)?localhost(?::\d*|/|$)(?!\S*\s)", re.IGNORECASE)
_DISCARD = 10
"""Ports up to here are taken as addresses at which nothing listens."""


def _port(source: Source, node: ast.AST | None) -> int | None:
    """The fixed port that an expression is."""
    if isinstance(node, ast.Name):
        node = source.constants.get(node.id)
    if isinstance(node, ast.Constant) and type(node.value) is int and _DISCARD < node.value < 65536:
        return node.value
    return None


def _fixed_ports(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        function = source.function_of(call)
        if function is not None and function.role is Role.HOOK:
            continue
        port = _port_of_call(source, call)
        if port is not None and not _is_refused(source, call):
            yield call, f"port {port} is fixed"
    for text in source.all(ast.Constant):
        if isinstance(text.value, str) and (match := _URL.match(text.value) or _HOST_PORT.match(text.value)):
            used = _is_used(source, text)
            if int(match[1]) > _DISCARD and used:
                yield text, f"port {match[1]} is fixed"


def _is_refused(source: Source, call: ast.Call) -> bool:
    """Whether the test is that there is no connection."""
    return any(
        isinstance(around, ast.With | ast.AsyncWith)
        and re.search(r"\b(raises|assertRaises)", ast.unparse(around.items[0]))
        for around in source.around(call)
    )


def _port_of_call(source: Source, call: ast.Call) -> int | None:
    name = source.called(call) or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
    last = name.rpartition(".")[2]
    if last in _LISTENS | _CONNECTS:
        for one in call.args[:3]:
            if isinstance(one, ast.Tuple) and len(one.elts) >= 2 and _is_host(one.elts[0]):
                port = _port(source, one.elts[1])
                if port is not None:
                    return port
        named = next((_port(source, word.value) for word in call.keywords if word.arg == "port"), None)
        if named is not None:
            return named
        host_first = len(call.args) >= 2 and source.text_of(call.args[0]) is not None
        if host_first and last in {"create_connection", "open_connection", "HTTPConnection", "make_server", "TCPSite"}:
            return _port(source, call.args[1])
    if last in _STARTS:
        return _port_of_command(call)
    return None


def _is_host(node: ast.expr) -> bool:
    """Not the number of a machine or a node, as other families than IP have it."""
    return not isinstance(node, ast.Constant | ast.Attribute) or isinstance(getattr(node, "value", None), str)


def _port_of_command(call: ast.Call) -> int | None:
    words = [
        one
        for given in call.args
        for one in (given.elts if isinstance(given, ast.List | ast.Tuple) else [given])
        if isinstance(one, ast.Constant | ast.JoinedStr | ast.Name | ast.Attribute | ast.Call | ast.Starred)
    ]
    texts = [one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else "" for one in words]
    for before, text in zip(["", *texts], texts, strict=False):
        match = _PORT_WORD.match(text)
        number = (match[1] or match[2]) if match else text if re.match(r"^(-p|--?[a-z-]*port)$", before) else ""
        if number.isdigit() and _DISCARD < int(number) < 65536:
            return int(number)
    return None


def _is_used(source: Source, text: ast.Constant) -> bool:
    """Whether an address is more than a text to compare, to parse or to show."""
    if source.in_claim(text) or isinstance(source.parents[text], ast.Expr | ast.JoinedStr | ast.FormattedValue):
        return False
    if _in_parameters(source, text):
        return False
    call = _call_around(source, text)
    if call is not None:
        return _connects(source, call)
    function = source.function_of(text)
    if function is not None:
        return function.role in {Role.FIXTURE, Role.SHARED, Role.SET_UP} or _reaches_a_connection(source, text)
    return _reaches_a_connection(source, text)


_CLIENTS = re.compile(
    r"^(requests|httpx2?|aiohttp|urllib\.request|urllib3|websockets?|asyncpg|psycopg2?|redis|valkey|pymongo|grpc|socket"
    r"|boto3|sqlalchemy|http\.client|kafka|aiokafka|nats|pika|aio_pika|amqp|elasticsearch|motor|mysql|pymysql)\b"
)


def _connects(source: Source, call: ast.Call) -> bool:
    name = source.called(call) or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
    last = name.rpartition(".")[2]
    return bool(_CLIENTS.match(name)) or last in _CONNECTS | _LISTENS | _STARTS | {"urlopen", "create_engine"}


def _reaches_a_connection(source: Source, text: ast.Constant) -> bool:
    """Whether the name that an address gets is given to a call that connects."""
    statement = source.statement(text)
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {one.id for one in targets if isinstance(one, ast.Name)}
    function = source.function_of(text)
    scope: ast.AST = function.node if function else source.tree
    return any(
        _connects(source, call)
        and any(isinstance(one, ast.Name) and one.id in names for given in _given(call) for one in walk(given))
        for call in walk(scope)
        if isinstance(call, ast.Call)
    )


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(word.value for word in call.keywords)]


def _call_around(source: Source, node: ast.AST) -> ast.Call | None:
    for around in source.around(node):
        if isinstance(around, ast.Call):
            return around
        if isinstance(around, ast.stmt):
            return None
    return None


def _in_parameters(source: Source, node: ast.AST) -> bool:
    return any(
        isinstance(around, ast.Call) and source.called(around).endswith(("parametrize", "pytest.param", "example"))
        for around in source.around(node)
    )


def _localhost(source: Source) -> Iterator[Hit]:
    for text in source.all(ast.Constant):
        if not isinstance(text.value, str) or not _LOCALHOST.match(text.value):
            continue
        parent = source.parents[text]
        if text.value.lower() == "localhost":
            bound = isinstance(parent, ast.Tuple) and (call := _call_around(source, text)) and _connects(source, call)
            word = isinstance(parent, ast.keyword) and parent.arg in {"host", "hostname", "address", "bind"}
            given = isinstance(parent, ast.Call) and text in parent.args and _connects(source, parent)
            if not bound and not (word and _connects_or_makes(source, parent)) and not given:
                continue
        elif isinstance(parent, ast.JoinedStr):
            if source.in_claim(text) or _in_parameters(source, text):
                continue
        elif not _is_used(source, text):
            continue
        if not source.in_claim(text):
            yield text, "`localhost` is ::1 for one program and 127.0.0.1 for another"


def _connects_or_makes(source: Source, keyword: ast.AST) -> bool:
    call = source.parents[keyword]
    return isinstance(call, ast.Call) and _connects(source, call)


RULES = (
    Rule(
        id="M201",
        name="fixed-port",
        level=Level.ERROR,
        title="A server or a client uses a fixed port.",
        reason="The second worker cannot bind it, or worse, talks to the server of the first one; so does a second "
        "run on the same machine, and whatever else listens there.",
        remedy="Bind port 0 and ask which port it became, or lease one: `muster_worker.port()`, `muster_run.port()`.",
        bad="import socket\n\nimport pytest\n\n\n@pytest.fixture\ndef server():\n"
        "    with socket.socket() as listener:\n"
        '        listener.bind(("127.0.0.1", 8080))\n        yield "http://127.0.0.1:8080"\n',
        good="import socket\n\nimport pytest\n\n\n@pytest.fixture\ndef server():\n"
        "    with socket.socket() as listener:\n"
        '        listener.bind(("127.0.0.1", 0))\n        yield f"http://127.0.0.1:{listener.getsockname()[1]}"\n',
        check=_fixed_ports,
    ),
    Rule(
        id="M202",
        name="localhost",
        title="An address says `localhost`.",
        reason="The name means ::1 first on one machine and 127.0.0.1 on another, and a server that listens on one of "
        "them only is then refused, sometimes, or somebody else's server answers.",
        remedy="Write 127.0.0.1, on both sides.",
        bad='import redis\n\n\ndef test_cache(port):\n    cache = redis.Redis(host="localhost", port=port)\n'
        "    assert cache.ping()\n",
        good='import redis\n\n\ndef test_cache(port):\n    cache = redis.Redis(host="127.0.0.1", port=port)\n'
        "    assert cache.ping()\n",
        check=_localhost,
    ),
)
