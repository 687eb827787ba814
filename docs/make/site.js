// A table that is too wide for the page can be scrolled by keyboard, too.
document$.subscribe(() =>
  setTimeout(() => {
    for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) table.tabIndex = 0
  })
)
