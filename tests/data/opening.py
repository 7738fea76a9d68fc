"""Opens what a space says of a text, as a run does."""

from lagsearch.data.text.corpora import Opener, parts_of


def open_corpus(corpus, part="train"):
    """Open the one text of a corpus."""
    [each] = parts_of(corpus, ("data", part))
    return Opener().open(each)
