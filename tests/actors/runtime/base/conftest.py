"""A store that answers as a test wants it to."""

from collections.abc import Callable, Iterator

import pytest

from actors.runtime.base.storage import Bucket
from tests.actors.runtime.fakes3 import FakeS3, fake_s3


@pytest.fixture
def store() -> Iterator[FakeS3]:
    with fake_s3(FakeS3()) as store:
        yield store


@pytest.fixture
def fake(store: FakeS3, settings) -> Callable[..., Bucket]:
    return lambda **changes: Bucket(settings.model_copy(update={"S3_ENDPOINT_URL": store.url, **changes}))
