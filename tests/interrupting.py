"""Interrupts a run in a phase of it."""

from lagsearch.display.watch import Watch


class Interrupt(Watch):
    """Interrupts at the first step of a phase."""

    def __init__(self, phase):
        self.phase, self.is_there = phase, False

    def begin(self, phase, ends):
        self.is_there = phase.startswith(self.phase)

    def progress(self, progress):
        if self.is_there and progress.step > 0:
            raise KeyboardInterrupt
