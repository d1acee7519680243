"""The token budget (engine): what may be spent, what is held for whom, what was spent, and the record of it."""
