"""prefect.yaml as it is read: templates filled in as `prefect deploy` does, and where the file and the home are found."""

from pathlib import Path

import pytest

from deployments.publishing.deployments_document import read_deployments_document
from deployments.publishing.house import deployments_file, home_and_settings, version
from deployments.publishing.planned import planned_of
from trading.errors import ConfigurationError

HOUSE = Path(__file__).parents[3]
DOCUMENT = """
pull:
  - step: {directory: "{{ $TESTED_HOME }}"}
deployments:
  - name: one
    version: "{{ $TESTED_VERSION }}"
    entrypoint: flows.resume_trading.resume_trading
    description: One.
    tags: [openbell]
    work_pool:
      name: mine
      job_variables: {env: {HOME_OF_ALL: "{{ $TESTED_HOME }}", ANOTHER: kept}}
    concurrency_limit: {limit: 2, collision_strategy: ENQUEUE}
    triggers:
      - expect: [x]
        parameters: {reason: "{{ event.payload.message }}"}
"""


def test_templates_come_from_the_environment_and_what_is_not_set_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(DOCUMENT, encoding="utf-8")
    [filled] = planned_of(read_deployments_document(file, {"TESTED_HOME": "/srv/one", "TESTED_VERSION": "7"}))
    assert (filled.version, filled.job_variables["env"]) == ("7", {"HOME_OF_ALL": "/srv/one", "ANOTHER": "kept"})
    assert filled.pull_steps == [{"step": {"directory": "/srv/one"}}]
    assert (filled.concurrency_limit, filled.concurrency_options) == (2, {"collision_strategy": "ENQUEUE"})
    # What speaks of the event is filled in when there is one.
    assert filled.triggers[0]["parameters"] == {"reason": "{{ event.payload.message }}"}

    [bare] = planned_of(read_deployments_document(file, {}))
    assert (bare.version, bare.job_variables["env"]) == ("", {"HOME_OF_ALL": "", "ANOTHER": "kept"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments: [", "cannot be read"),
        ("name: x", "lists no deployments"),
        ("deployments: [{name: one, entrypoint: a.b}]", "The deployment one in prefect.yaml has no work_pool"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        planned_of(read_deployments_document(file, {}))


def test_a_home_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    assert deployments_file(tmp_path) == HOUSE / "prefect.yaml"
    (tmp_path / "prefect.yaml").write_text("deployments: []")
    assert deployments_file(tmp_path) == tmp_path / "prefect.yaml"


def test_the_home_is_the_one_that_is_named_else_that_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    named.mkdir()
    other.mkdir()
    (other / "openbell.toml").touch()
    assert home_and_settings(None, {"OPENBELL_HOME": str(named)}) == (named, None)
    assert home_and_settings(None, {"OPENBELL_HOME": str(other)}) == (other, other / "openbell.toml")
    assert home_and_settings(other / "paper.toml", {}) == (other, other / "paper.toml")
    monkeypatch.chdir(other)
    assert home_and_settings(None, {}) == (other, other / "openbell.toml")


def test_the_version_is_the_packages_unless_an_image_says_its_own() -> None:
    assert version({"OPENBELL_VERSION": "2.0+image"}) == "2.0+image"
    assert version({}).startswith("0.")
