import pytest
from search import Index


@pytest.fixture(scope="session")
def index():
    index = Index(["plum jam", "plum cake", "apple tart"])
    yield index
    index.thread.join()
