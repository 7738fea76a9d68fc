"""How a search goes on: which candidates to train up to which step, and when to choose.

A strategy is a pure function of what was measured. It is called again whenever there is more, in a
run and in a replay of one alike; a run that was interrupted calls it from the start. Strategies are
registered in the modules here, or in a package with an entry point of `lagsearch.strategies`.
"""
