"""`python -m advisor.plan`, which `ridgeline plan` runs."""

from advisor.plan.command import main

if __name__ == "__main__":
    main()
