"""What training needs of other packages, and what it says where they are missing."""

import subprocess
import sys

import pytest


def ran(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.strip()


def test_without_the_extra_training_an_agent_says_what_to_install() -> None:
    missing = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'stable_baselines3', 'sb3_contrib')))  # as if not installed\n"
        "from trading.errors import ConfigurationError\n"
        "from trading.training.agent_training import AgentTraining\n"
        "from trading.training.agents import train_agent\n"
        "try:\n"
        "    train_agent(AgentTraining('ppo', 10), ('a',), lambda: None)\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    assert ran(missing).endswith("Install openbell with its extra: pip install 'openbell[rl]'.")


@pytest.mark.parametrize("module", ["agents", "export", "estimators", "model_quality", "checkpoints"])
def test_importing_what_trains_imports_no_framework(module: str) -> None:
    asked = (
        f"import sys, trading.training.{module}\n"
        "heavy = {'torch', 'stable_baselines3', 'sb3_contrib', 'sklearn', 'skops', 'gymnasium'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    assert ran(asked) == ""
