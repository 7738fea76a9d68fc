import numpy as np
import pytest
from scipy import stats

from lagsearch.selection.student import t_above, t_quantile


@pytest.mark.parametrize("freedom", [0.5, 1, 2.7, 14, 999])
def test_it_is_the_distribution_of_scipy(freedom):
    values = np.array([-40.0, -1.3, 0.0, 0.2, 3.5, 80.0, np.inf])
    assert np.array_equal(t_above(values, freedom), stats.t.sf(values, freedom))
    for share in (0.025, 0.5, 0.9, 0.975):
        assert t_quantile(share, freedom) == stats.t.ppf(share, freedom)
    assert -t_quantile(0.025, freedom) == stats.t.isf(0.025, freedom)
