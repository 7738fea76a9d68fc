"""Colours by what they stand for, in all that is drawn."""

LIGHT = {
    "page": "#f6f7f8",
    "card": "#ffffff",
    "ink": "#1f2328",
    "muted": "#5b6570",
    "line": "#e3e7eb",
    "winner": "#c8102e",
    "best": "#1f6fb4",
    "baseline": "#2e7d32",
    "rest": "#9aa5b1",
    "picked": "#e07b00",
    "further": "#7b4fa3",
    "good": "#1a7f37",
    "doubtful": "#8f5e00",
    "bad": "#c8102e",
}
"""Colours on white, for figures and for the page by day."""

DARK = {
    "page": "#101418",
    "card": "#191e24",
    "ink": "#e6eaee",
    "muted": "#9ba7b3",
    "line": "#2c343d",
    "winner": "#ff6b7d",
    "best": "#6cb6ff",
    "baseline": "#6fcf7a",
    "rest": "#7b8794",
    "picked": "#ffb454",
    "further": "#b58bd9",
    "good": "#56d364",
    "doubtful": "#e3b341",
    "bad": "#ff7b86",
}
"""The same by night."""
