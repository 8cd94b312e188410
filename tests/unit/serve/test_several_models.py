"""Several models in one replica: each has its own paths, counts and fate."""

import asyncio

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from raymi.errors import IntegrityError, OverloadedError
from raymi.serve.api import Served, build_api
from raymi.serve.follower import Follower, start_all
from raymi.serve.guard import Access, Guard
from raymi.serve.identity import RequestLimits, ServedModel
from raymi.serve.metrics import RequestMetrics
from raymi.serve.plan import plan, spec_from_arguments
from raymi.serve.rollout.files import RolloutFiles, files_of, further_models, served_references
from raymi.specs.deploy import DeploySpec
from tests.unit.serve.conftest import MAX_BYTES, MAX_ROWS, CountingHost
from tests.unit.serve.one_version import OneVersion
from tests.unit.serve.rollouts import serving
from tests.unit.serve.test_model_versions import Rack
from tests.unit.serve.test_openapi_examples import operations

LIMITS = RequestLimits(max_request_bytes=MAX_BYTES, max_rows=MAX_ROWS)


class Unloaded(OneVersion):
    """A model of which no version could be loaded."""

    def active(self):
        raise OverloadedError("not loaded", why="damaged", fix="wait", retry_after_s=1)

    pick = active

    def version(self, number):
        return None


class House:
    """Two models behind one endpoint."""

    def __init__(self, signature, *, second=OneVersion):
        self.hosts = [CountingHost(signature), CountingHost(signature)]
        self.hosts[1].served = ServedModel("birds", 2, "cd" * 32, "fp32", 8)
        self.counts = [RequestMetrics(), RequestMetrics()]
        api = build_api(
            OneVersion(self.hosts[0]),
            LIMITS,
            Guard(Access()),
            also=[Served(second(self.hosts[1]), self.counts[1].answered)],
            observe=self.counts[0].answered,
        )
        self.client = TestClient(api, raise_server_exceptions=False)

    def predict(self, path, row):
        return self.client.post(path, json={"rows": [row]})


@pytest.fixture
def house(signature):
    return House(signature)


@pytest.mark.parametrize(
    ("path", "model"),
    [("/predict", "shapes"), ("/predict/shapes", "shapes"), ("/predict/birds", "birds")],
)
def test_each_model_predicts_rows_at_its_path(house, good_row, path, model):
    assert house.predict(path, good_row).json()["model"] == model


def test_each_model_answers_the_inference_protocol_under_its_name(house):
    document = house.client.get("/openapi.json").json()
    body = document["paths"]["/v2/models/birds/infer"]["post"]["requestBody"]["content"]
    example = body["application/json"]["example"]

    said = [
        house.client.post(f"/v2/models/{path}/infer", json=example).json()
        for path in ("shapes", "birds", "birds/versions/2", "birds/versions/4")
    ]

    assert [answer.get("model_name") for answer in said] == ["shapes", "birds", "birds", None]
    assert house.client.get("/v2/models").json() == {"models": ["shapes", "birds"]}
    assert house.client.get("/v2/models/birds").json()["name"] == "birds"


def test_every_example_of_both_models_is_answered(house):
    for method, path, operation in operations(house.client.get("/openapi.json").json()):
        content = operation.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example")

        assert house.client.request(method, path, json=body).status_code == 200, (method, path)


def test_another_name_is_a_404_that_says_which_there_are(house):
    refusal = house.client.get("/v2/models/fish")

    assert refusal.status_code == 404
    assert "shapes, birds" in refusal.json()["error"]
    assert house.client.post("/predict/fish", json={}).status_code == 404


def test_answers_are_counted_for_the_model_that_gave_them(house, good_row):
    house.predict("/predict", good_row)
    house.predict("/predict/birds", good_row)
    house.predict("/predict/birds", good_row)

    counted = [c.snapshot({}, queue_rows=0).requests for c in house.counts]
    assert [[(r.path, r.version, r.count) for r in each] for each in counted] == [
        [("/predict", "4", 1)],
        [("/predict/birds", "2", 2)],
    ]


def test_a_model_that_is_full_leaves_the_other(house, good_row):
    house.hosts[1].is_full = True

    assert house.predict("/predict/birds", good_row).status_code == 503
    assert house.predict("/predict", good_row).status_code == 200


def test_a_model_that_could_not_be_loaded_leaves_the_other(signature, good_row):
    house = House(signature, second=Unloaded)

    assert house.predict("/predict", good_row).status_code == 200
    assert house.predict("/predict/birds", good_row).status_code == 503
    assert house.client.get("/v2/models/birds").status_code == 503
    assert house.client.get("/v2/health/ready").status_code == 503
    assert house.client.get("/v2/health/live").status_code == 200
    assert house.client.get("/openapi.json").status_code == 200


def followers(store_dir, *racks):
    found = []
    for at, rack in enumerate(racks):
        files = RolloutFiles(store_dir, "zoo", further=f"model-{at}" if at else None)
        files.write(serving(1))
        found.append(Follower(rack.versions, files, "r"))
    return tuple(found)


def test_a_replica_starts_with_the_models_that_can_be_loaded(tmp_path):
    async def scenario():
        broken, good = Rack(refuses={1}), Rack()
        start_all(followers(tmp_path, broken, good), {})
        with pytest.raises(OverloadedError):
            broken.versions.active()
        report = broken.report()
        return report.active, report.versions[0].condition, good.answering()

    assert asyncio.run(scenario()) == (None, "failed", 1)


def test_a_model_that_was_broken_answers_once_a_later_version_is_deployed(tmp_path):
    async def scenario():
        broken = Rack(refuses={1})
        (follower, _) = every = followers(tmp_path, broken, Rack())
        start_all(every, {})
        follower.files.write(serving(2).model_copy(update={"generation": 2}))
        while broken.report().active is None:
            await asyncio.sleep(0.01)
        return broken.answering()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == 2


def test_a_rollout_whose_bytes_are_damaged_leaves_the_version_that_answers(tmp_path, caplog):
    async def scenario():
        rack = Rack()
        (follower,) = every = followers(tmp_path, rack)
        start_all(every, {})
        sound = (follower.files.directory / "rollout.json").read_bytes()
        (follower.files.directory / "rollout.json").write_bytes(
            sound.replace(b"digits", b"\xff\xfe")
        )
        with pytest.raises(IntegrityError, match="not a rollout"):
            follower.files.read()
        while "the rollout cannot be read" not in caplog.text:
            await asyncio.sleep(0.01)
        follower.check()
        answering = rack.answering()
        follower.files.write(serving(2).model_copy(update={"generation": 2}))
        while rack.answering() == answering:
            await asyncio.sleep(0.01)
        return answering, rack.answering()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == (1, 2)


def test_a_replica_that_can_load_none_of_them_does_not_start(tmp_path):
    async def scenario():
        start_all(followers(tmp_path, Rack(refuses={1}), Rack(refuses={1})), {})

    with pytest.raises(IntegrityError):
        asyncio.run(scenario())


def test_each_model_has_a_rollout_of_its_own(tmp_path):
    first, further = RolloutFiles(tmp_path, "zoo"), RolloutFiles(tmp_path, "zoo", further="birds")
    first.write(serving(3))
    further.write(serving(7))

    assert served_references(tmp_path) == {"zoo": ("digits@3", "digits@7")}
    assert further_models(tmp_path, "zoo") == ("birds",)
    assert files_of(tmp_path, "zoo", None).read() == first.read()
    assert files_of(tmp_path, "zoo", "digits").read() == first.read()
    assert files_of(tmp_path, "zoo", "birds").read() == further.read()


def test_several_models_share_what_one_replica_may_hold():
    alone = plan(DeploySpec(model="digits@3"), swept_batch_size=16)
    two = plan(
        DeploySpec(model="digits@3", also=("adult@1",)), swept_batch_size=16, max_at_once=512
    )

    assert (alone.batch.max_waiting_rows, two.batch.max_waiting_rows) == (1024, 256)
    assert two.request.max_bytes_at_once == alone.request.max_bytes_at_once // 2


def test_a_model_is_in_an_application_once():
    with pytest.raises(ValidationError, match="digits is there twice"):
        DeploySpec(model="digits@3", also=("digits@4",))


def test_further_models_may_come_as_text():
    spec = spec_from_arguments({"model": "digits@3", "also": "[adult@1, cars@champion]"})

    assert spec.model_names == ("digits", "adult", "cars")
