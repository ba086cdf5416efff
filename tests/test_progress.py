"""Progress of a run, which is also where a run can be ended."""

import numpy as np

from adadsr.upscaler import Execution, Upscaler


def test_progress_comes_between_the_bands_of_the_tail(monkeypatch):
    """So that a run that nobody waits for ends soon, wherever it is."""
    monkeypatch.setattr("adadsr.backends.engine.BAND_PIXELS", 64)
    upscaler, seen = Upscaler.from_pretrained("adaedsr-baseline-x2", Execution(threads=1)), []
    upscaler(np.zeros((40, 16, 3), np.uint8), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len([share for share in seen if 0.9 < share < 1]) >= 5
