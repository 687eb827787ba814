"""Writes the pages of docs/ that follow from the code: the codes and the catalogue of faults."""

import codes
import faults

PAGES = {codes.PAGE: codes.page, faults.PAGE: faults.page}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
