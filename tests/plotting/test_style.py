import matplotlib.pyplot as plt

from glasslit import plotting


def test_a_new_figure_has_the_style_and_leaves_the_readers_own_alone():
    before = plt.rcParams.copy()
    figure, axes = plotting.new_figure(2, width=3.0, height=2.0, sharey=True)
    assert plt.rcParams == before
    assert list(figure.get_size_inches()) == [6.0, 2.0]
    assert not axes[0].spines["top"].get_visible()
    assert axes[0].get_shared_y_axes().joined(*axes)
    assert not plt.get_fignums(), "shown once, by the cell that ends with it"


def test_shades_are_apart():
    assert len(set(plotting.shades(7))) == 7
