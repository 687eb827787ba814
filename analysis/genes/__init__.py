"""Gene expression by true and by predicted class: tests, gene sets, immune signatures."""
