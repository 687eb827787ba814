"""Writes the pages of docs/ that follow from the code: the codes and the catalogue of faults."""

import codes
import faults


def main() -> None:
    """Write the pages."""
    for module in (codes, faults):
        module.PAGE.write_text(module.page(), encoding="utf-8")


if __name__ == "__main__":
    main()
