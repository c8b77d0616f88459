"""``python -m deployments.terminal`` is ``openbell``."""

from deployments.terminal.app import main

if __name__ == "__main__":
    main()
