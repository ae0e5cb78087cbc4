"""Each rule finds its bad example and leaves its good one alone; and what else is right and wrong."""

import textwrap
from pathlib import Path

import pytest

from pytest_muster.checking.engine import check_text
from pytest_muster.checking.reference import explain, rules_page
from pytest_muster.checking.rules import all_rules

RULES = list(all_rules().values())


def found(code: str, file: str = "test_it.py") -> list[str]:
    return [one.id for one in check_text(textwrap.dedent(code), Path(file))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_bad_example_is_found_and_good_one_is_not(rule):
    assert rule.id in {one.id for one in check_text(rule.bad, Path(rule.file))}
    assert check_text(rule.good, Path(rule.file)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_words_of_a_rule_are_whole_sentences(rule):
    for text in (rule.title, rule.reason, rule.remedy):
        assert text[0].isupper() and text.endswith((".", ".\n")), text
    assert rule.name in explain(rule)


def test_page_of_rules_is_the_one_that_is_written():
    page = Path(__file__).parents[2] / "docs" / "rules.md"

    assert page.read_text() == rules_page(), "write it anew: muster check --docs > pytest-muster/docs/rules.md"


WRONG = {
    "state in a dict of the module": (
        "M101",
        """
        STATE = {}
        def pytest_configure(config):
            if config.workerinput["workerid"] == "gw0":
                STATE["client"] = connect()
        """,
    ),
    "fixture that is None elsewhere": (
        "M101",
        """
        import pytest
        @pytest.fixture(scope="session")
        def client(worker_id):
            if worker_id != "gw0":
                return None
            return connect()
        """,
    ),
    "value in the class": (
        "M103",
        """
        class TestShop:
            seen = []
            def test_one(self):
                self.seen.append(1)
        """,
    ),
    "counter of the module": (
        "M103",
        """
        COUNT = 0
        def test_one():
            global COUNT
            COUNT += 1
        """,
    ),
    "directory in a fixture": (
        "M105",
        """
        import os, pytest
        @pytest.fixture
        def home(tmp_path):
            os.chdir(tmp_path)
            yield tmp_path
        """,
    ),
    "port in a command": (
        "M201",
        """
        import subprocess, pytest
        @pytest.fixture
        def server():
            with subprocess.Popen(["redis-server", "--port", "6379"]) as process:
                yield process
        """,
    ),
    "port of a constant": (
        "M201",
        """
        import socket
        PORT = 9001
        def test_it():
            with socket.create_connection(("127.0.0.1", PORT)) as connection:
                assert connection
        """,
    ),
    "port in a URL of a fixture": (
        "M201",
        """
        import pytest
        @pytest.fixture
        def url():
            return "http://127.0.0.1:18094"
        """,
    ),
    "localhost in an f-string": (
        "M202",
        """
        import httpx
        def test_it(port):
            assert httpx.get(f"http://localhost:{port}/").status_code == 200
        """,
    ),
    "table in a shared database": (
        "M203",
        """
        import pytest
        @pytest.fixture(scope="session")
        def database(url):
            return connect(url)
        def test_orders(database):
            database.execute("CREATE TABLE orders (id int)")
        """,
    ),
    "namespace by a session fixture": (
        "M203",
        """
        import pytest
        @pytest.fixture(scope="session")
        def namespace(cluster):
            cluster.create_namespace(name="test")
            return "test"
        """,
    ),
    "name from a small die": (
        "M205",
        """
        import random
        def test_order(shop):
            assert shop.order(f"customer-{random.randint(0, 999)}")
        """,
    ),
    "sleep in a loop that looks at nothing": (
        "M301",
        """
        import time
        def test_it(queue):
            for _ in range(3):
                queue.put(1)
                time.sleep(0.1)
        """,
    ),
    "drop of all tables": (
        "M401",
        """
        import pytest
        @pytest.fixture(scope="session")
        def tables(engine):
            Base.metadata.create_all(engine)
            yield
            Base.metadata.drop_all(engine)
        """,
    ),
    "hook at the end of each worker": (
        "M401",
        """
        import subprocess
        def pytest_sessionfinish():
            subprocess.run(["docker", "compose", "down"], check=True)
        """,
    ),
    "tear-down of a module": (
        "M401",
        """
        import subprocess
        def setUpModule():
            subprocess.check_call(["kind", "create", "cluster", "--name", "tests"])
        def tearDownModule():
            subprocess.check_call(["kind", "delete", "cluster", "--name", "tests"])
        """,
    ),
    "names of a server that is shared": (
        "M203",
        """
        import pytest
        @pytest.fixture(scope="session")
        def broker(url):
            return connect(url)
        def test_it(broker):
            broker.create_topic("orders")
        """,
    ),
    "bound on one way only": (
        "M402",
        """
        import pytest
        @pytest.fixture
        def server(kind):
            if kind == "real":
                process = start()
            yield
            process.stop()
        """,
    ),
    "attribute of one test": (
        "M402",
        """
        class TestShop:
            def teardown_method(self):
                self.shop.close()
            def test_one(self):
                self.shop = open_shop()
        """,
    ),
    "process kept in self": (
        "M403",
        """
        import subprocess, unittest
        class ShopTest(unittest.TestCase):
            def setUp(self):
                self.process = subprocess.Popen(["shop"])
        """,
    ),
    "thread at once": (
        "M404",
        """
        import threading
        def test_it(store):
            threading.Thread(target=store.fill, daemon=True).start()
            assert store.is_open()
        """,
    ),
    "values of the module in a set": (
        "M501",
        """
        import pytest
        NAMES = {"a", "b"}
        @pytest.mark.parametrize("name", NAMES)
        def test_it(name):
            assert name
        """,
    ),
    "files in no order": (
        "M501",
        """
        import pytest
        from pathlib import Path
        @pytest.mark.parametrize("file", list(Path("cases").glob("*.json")))
        def test_it(file):
            assert file
        """,
    ),
    "id drawn in each worker": (
        "M501",
        """
        import pytest, uuid
        @pytest.mark.parametrize("key", [uuid.uuid4(), "fixed"])
        def test_it(key):
            assert key
        """,
    ),
    "port by the worker's variable": (
        "M503",
        """
        import os
        def port():
            worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
            return 5000 + int(worker.removeprefix("gw"))
        """,
    ),
    "count of several threads": (
        "M601",
        """
        import threading
        def test_it(shop):
            seen = {"n": 0}
            def buy():
                seen["n"] = seen["n"] + shop.buy()
            threads = [threading.Thread(target=buy) for _ in range(4)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        """,
    ),
    "two threads of one function of the module": (
        "M601",
        """
        import threading
        class TestShop:
            def test_it(self, shop):
                def buy():
                    self.sold += shop.buy()
                one, other = threading.Thread(target=buy), threading.Thread(target=buy)
                one.start()
                other.start()
                one.join()
                other.join()
        """,
    ),
    "assertion in a thread": (
        "M602",
        """
        from threading import Thread
        def expect():
            assert 1
        def test_it():
            one = Thread(target=expect)
            one.start()
            one.join()
        """,
    ),
    "result that nobody asks for": (
        "M602",
        """
        from concurrent import futures
        def test_it(shop):
            pool = futures.ProcessPoolExecutor()
            pool.submit(shop.buy)
            pool.shutdown()
        """,
    ),
    "check turned off for a module": (
        "M603",
        """
        import pytest
        pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
        def test_it():
            assert True
        """,
    ),
    "cluster of another fixture": (
        "M701",
        """
        import subprocess
        import pytest_muster as muster
        @muster.shared
        def cluster():
            subprocess.check_call(["k3d", "cluster", "create", "one"])
            yield {}
            subprocess.check_call(["k3d", "cluster", "delete", "one"])
        @muster.shared
        def image(cluster):
            subprocess.check_call("podman build -t shop .".split() if cluster else ["podman", "build", "."])
            return "shop"
        """.replace('"podman build -t shop .".split() if cluster else ', ""),
    ),
    "builds of a comprehension": (
        "M702",
        """
        import subprocess
        def build(names):
            return [subprocess.run(("buildah", "bud", "--tag", name, name)) for name in names]
        """,
    ),
}


@pytest.mark.parametrize(("rule", "code"), WRONG.values(), ids=WRONG)
def test_wrong(rule, code):
    assert found(code) == [rule]


RIGHT = {
    "both kinds of worker have it": """
        CLIENT = None
        def pytest_configure(config, worker_id):
            global CLIENT
            if worker_id == "master":
                CLIENT = connect(0)
            else:
                CLIENT = connect(1)
        """,
    "value of the module that is put right": """
        import pytest
        SEEN = []
        @pytest.fixture(autouse=True)
        def forget():
            SEEN.clear()
        def test_one():
            SEEN.append(1)
        """,
    "a name of its own": """
        SEEN = []
        def test_one():
            SEEN = []
            SEEN.append(1)
        """,
    "fixture that takes back": """
        import pytest
        REGISTRY = {}
        @pytest.fixture
        def codec():
            REGISTRY["x"] = 1
            yield
            REGISTRY.pop("x")
        """,
    "environment that is put back": """
        import os, pytest
        @pytest.fixture
        def home(tmp_path):
            before = os.getcwd()
            os.chdir(tmp_path)
            yield tmp_path
            os.chdir(before)
        """,
    "environment in a patch": """
        import os
        from unittest import mock
        def test_it():
            with mock.patch.dict(os.environ):
                os.environ["A"] = "1"
        """,
    "environment that a helper of a fixture puts back": """
        import os, sys, pytest
        from product import settings
        def put_back():
            os.chdir(before)
            settings.MODE = old
        @pytest.fixture
        def around():
            yield
            put_back()
        around_it = pytest.mark.usefixtures("around")
        @around_it
        def test_it(tmp_path):
            os.chdir(tmp_path)
            settings.MODE = "fast"
        """,
    "attribute that is put back, or that a block puts back": """
        import pytest
        from product import settings
        def test_by_hand():
            old = settings.MODE
            settings.MODE = "fast"
            assert settings.speed() == 2
            settings.MODE = old
        def test_by_block():
            with settings.changed():
                settings.MODE = "fast"
        def test_refused():
            with pytest.raises(AttributeError):
                settings.MODE = "fast"
        def test_after_monkeypatch(monkeypatch):
            monkeypatch.setattr(settings, "MODE", "slow")
            settings.MODE = "fast"
        """,
    "base class that may put back": """
        import os
        from product.testing import Sandbox
        class TestIt(Sandbox):
            def test_it(self):
                os.chdir(self.directory)
        """,
    "environment by set-up and tear-down": """
        import os, unittest
        class ShopTest(unittest.TestCase):
            def setUp(self):
                os.environ["A"] = "1"
            def tearDown(self):
                del os.environ["A"]
        """,
    "addresses as data": """
        import pytest
        def test_url_is_parsed():
            assert parse("http://localhost:8080/x").port == 8080
            config = Config(host="localhost", port=8080, url="http://127.0.0.1:9000")
            assert config.url == "http://127.0.0.1:9000"
        @pytest.mark.parametrize("url", ["http://localhost:80", "http://127.0.0.1:8080"])
        def test_urls(url):
            assert parse(url)
        """,
    "port at which nothing listens": """
        import socket
        def test_refused():
            with socket.socket() as one:
                assert one.connect_ex(("127.0.0.1", 1))
        """,
    "database and table of the test's own": """
        import pytest, sqlite3
        @pytest.fixture
        def database():
            with sqlite3.connect(":memory:") as connection:
                yield connection
        def test_orders(database):
            database.execute("CREATE TABLE orders (id int)")
        """,
    "path as data": """
        def test_path():
            assert Config(directory="/tmp/x").directory == "/tmp/x"
        """,
    "time that is only shown": """
        import time
        def test_it(log):
            began = time.time()
            print(f"took-{time.time() - began}")
        """,
    "poll with a deadline": """
        import time
        def test_it(server):
            deadline = time.monotonic() + 10
            while not server.is_ready():
                assert time.monotonic() < deadline
                time.sleep(0.1)
        """,
    "bounded tries": """
        import time, pytest
        @pytest.fixture
        def server():
            server = start()
            for _ in range(50):
                if server.is_ready():
                    break
                time.sleep(0.1)
            else:
                pytest.fail("not ready")
            yield server
        """,
    "slow part played for the test": """
        import asyncio, pytest
        async def test_slow_handler(client):
            async def handler(request):
                await asyncio.sleep(60)
            with pytest.raises(TimeoutError):
                await client.ask(handler)
            await asyncio.sleep(0)
        """,
    "sleep that is cut off": """
        import asyncio, pytest
        async def test_limit():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(10)
        """,
    "session fixture of the worker's own": """
        import pytest, subprocess
        @pytest.fixture(scope="session")
        def server(tmp_path_factory):
            process = subprocess.Popen(["shop", "--port=0"])
            yield process
            process.terminate()
            process.wait(10)
        """,
    "hook that asks who it is": """
        import subprocess
        def pytest_sessionfinish(session):
            if not hasattr(session.config, "workerinput"):
                subprocess.run(["docker", "compose", "down"], check=True)
        """,
    "container that only this worker knows": """
        import pytest, subprocess
        @pytest.fixture(scope="session")
        def container():
            id = subprocess.check_output(["docker", "run", "-d", "-p", "0:80", "shop"], text=True).strip()
            yield id
            subprocess.run(["docker", "rm", "-f", id], check=True)
        """,
    "bound on every way": """
        import pytest
        @pytest.fixture
        def server(kind):
            if kind == "real":
                process = start()
            elif kind == "none":
                pytest.skip("none")
            else:
                process = pretend()
            yield
            process.stop()
        """,
    "the same condition": """
        import pytest
        @pytest.fixture
        def server(kind):
            if kind == "real":
                process = start()
            yield
            if kind == "real":
                process.stop()
        """,
    "handler that gives up": """
        import pytest
        @pytest.fixture
        def server():
            try:
                process = start()
            except OSError:
                pytest.skip("not here")
            yield process
            process.stop()
        """,
    "loop around with": """
        import pytest
        @pytest.fixture
        def servers():
            with open_stack() as stack:
                opened = [stack.enter(number) for number in range(3)]
                yield opened
                for one in opened:
                    one.close()
        """,
    "tear-down of what set-up made": """
        import unittest
        class ShopTest(unittest.TestCase):
            def setUp(self):
                self.shop = open_shop()
            def tearDown(self):
                self.shop.close()
            def test_one(self):
                self.shop.sell()
        """,
    "process and thread that are ended": """
        import subprocess, threading, pytest
        @pytest.fixture
        def server(request):
            process = subprocess.Popen(["shop"])
            request.addfinalizer(process.kill)
            return process
        def test_run():
            with subprocess.Popen(["shop"]) as process:
                process.communicate("x")
        def test_threads(store):
            threads = [threading.Thread(target=store.fill) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        """,
    "lock around data": """
        import json, pytest
        from filelock import FileLock
        @pytest.fixture(scope="session")
        def data(root):
            with FileLock(root / "lock"):
                file = root / "data.json"
                if not file.exists():
                    file.write_text(json.dumps(produce()))
                return json.loads(file.read_text())
        """,
    "group by what it is about": """
        import pytest
        @pytest.mark.xdist_group("database")
        def test_it():
            assert True
        """,
    "steady values": """
        import pytest
        from pathlib import Path
        @pytest.mark.parametrize("number", {1, 2})
        @pytest.mark.parametrize("names", [{"a", "b"}])
        @pytest.mark.parametrize("file", sorted(Path("cases").glob("*.json")), ids=lambda file: file.name)
        def test_it(number, names, file):
            assert number
        """,
    "threads that hold a lock, or change what is their own": """
        import threading
        def test_it(shop):
            sold, lock = 0, threading.Lock()
            def buy():
                nonlocal sold
                mine = 0
                mine += shop.buy()
                with lock:
                    sold += mine
            threads = [threading.Thread(target=buy) for _ in range(4)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
        """,
    "one thread counts": """
        import threading
        def test_it(shop):
            sold = 0
            def buy():
                nonlocal sold
                sold += shop.buy()
            one = threading.Thread(target=buy)
            one.start()
            one.join()
            assert sold == 1
        """,
    "another submit, and results that are asked for": """
        from concurrent.futures import ThreadPoolExecutor
        def test_it(form):
            form.submit("name")
            with ThreadPoolExecutor() as pool:
                asked = [pool.submit(form.read) for _ in range(3)]
            assert all(one.result() for one in asked)
        """,
    "warnings that are no checks of threads": """
        import pytest
        @pytest.mark.filterwarnings("ignore:old:DeprecationWarning")
        def test_it():
            assert True
        """,
    "image before the cluster, and builds that are started together": """
        import subprocess
        import pytest_muster as muster
        @muster.shared
        def images():
            builds = [subprocess.Popen(["docker", "build", name]) for name in ("shop", "stock")]
            yield [one.wait() for one in builds]
            subprocess.run(["docker", "rmi", "shop", "stock"])
        @muster.shared
        def cluster(images):
            subprocess.run(["kind", "create", "cluster"])
            yield {}
            subprocess.run(["kind", "delete", "cluster"])
        """,
}


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT)
def test_right(code):
    assert found(code) == []


TEXTS = {
    "upgrade of apt": ("Dockerfile", "FROM a\nRUN apt-get update && apt-get upgrade -y\n", ["M703"]),
    "upgrade on a later line": ("shop.Dockerfile", "FROM a\nRUN set -e; \\\n  # all\n  dnf -y update\n", ["M703"]),
    "upgrade in a document": ("Containerfile", "FROM a\nRUN <<EOF\napk update\napk upgrade\nEOF\nUSER 1\n", ["M703"]),
    "upgrade in a list": ("Dockerfile.dev", 'FROM a\nRUN ["microdnf", "upgrade", "-y"]\n', ["M703"]),
    "upgrade by pacman": ("Dockerfile", "FROM a\nRUN pacman -Syu --noconfirm\n", ["M703"]),
    "one package": ("Dockerfile", "FROM a\nRUN dnf -y upgrade openssl && apt-get install -y upgrade-tools\n", []),
    "index only": ("Dockerfile", "FROM a\n# RUN apt-get upgrade\nRUN apt-get update\nLABEL run='apk upgrade'\n", []),
    "with a reason": (
        "Dockerfile",
        "FROM a\n# muster: ignore[M703] the base image is built here too\nRUN apk upgrade\n",
        [],
    ),
    "without a reason": ("Dockerfile", "FROM a\n# muster: ignore[M703]\nRUN apk upgrade\n", ["M002", "M703"]),
    "reason for nothing": ("Dockerfile", "FROM a\n# muster: ignore[M703] why\nRUN apk update\n", ["M003"]),
    "plugin off": ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "-ra -p no:faulthandler"\n', ["M603"]),
    "warning off": (
        "tox.ini",
        "[pytest]\nfilterwarnings =\n    error\n    ignore::pytest.PytestUnraisableExceptionWarning\n",
        ["M603"],
    ),
    "other plugin off": ("setup.cfg", "[tool:pytest]\naddopts = -p no:cacheprovider -p no:randomly\n", []),
    "comment": ("pytest.ini", "[pytest]\n# addopts = -p no:threadexception\n", []),
}


@pytest.mark.parametrize(("file", "text", "ids"), TEXTS.values(), ids=TEXTS)
def test_file_that_is_no_python(file, text, ids):
    assert sorted(one.id for one in check_text(text, Path(file))) == ids
