"""Forecasting a real series: the carbon dioxide in the air over Mauna Loa, month by month.

From five years of monthly changes a network tells the next one; fed its own forecasts through
`model.stream`, it goes on for years. It is compared with two forecasts that need no network: that
the change will be the same as in the month before, and the same as in that month a year before.

The data come with statsmodels (pip install statsmodels).

    python examples/forecasting.py [--quick]
"""

import sys
import warnings

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.callbacks import EarlyStopping
from fastrnn.layers import LSTM, Dense
from fastrnn.utils import set_random_seed

QUICK = "--quick" in sys.argv
WINDOW, TEST = 60, 120  # months


def carbon_dioxide():
    """Monthly means in parts per million, array (months,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, within statsmodels
        from statsmodels.datasets import co2

        weekly = co2.load_pandas().data["co2"]
        return weekly.resample("MS").mean().interpolate().to_numpy()


def main():
    set_random_seed(3)
    series = carbon_dioxide()
    change = np.diff(series)
    train = len(change) - TEST
    scale = change[:train].std()
    z = (change / scale).astype(np.float32)[:, None]

    # Windows of changes; after each month of a window the next month's change is to be told.
    starts = np.arange(len(z) - WINDOW)
    windows = np.stack([z[s : s + WINDOW + 1] for s in starts])
    x, y = windows[:, :-1], windows[:, 1:]
    known = starts + WINDOW < train

    model = Sequential([Input((None, 1)), LSTM(32, return_sequences=True), Dense(1)])
    model.compile("adam", "mse")
    stop = EarlyStopping(patience=15, restore_best_weights=True)
    model.fit(
        x[known], y[known], batch_size=16, epochs=30 if QUICK else 80, validation_split=0.15,
        callbacks=[stop], verbose=0,
    )

    # One month ahead: the last output of each window that ends in the test years.
    told = model.predict(x[~known], verbose=0)[:, -1, 0] * scale
    months = np.arange(train, len(change))
    errors = {
        "as the month before": change[months],
        "as a year before": change[months] - change[months - 12],
        "LSTM": change[months] - told,
    }
    print(f"{len(series)} months; the mean absolute error over the last {TEST}, in ppm")
    print("one month ahead")
    for name, error in errors.items():
        print(f"  {name:20} {np.abs(error).mean():.3f}")

    # Ten years ahead: the network hears the known months once, then its own forecasts.
    stream = model.stream()
    for step in z[train - 2 * WINDOW : train]:
        forecast = stream(step[None])
    path = []
    for _ in range(TEST):
        path.append(forecast[0, 0])
        forecast = stream(forecast)
    ahead = series[train] + np.cumsum(path) * scale
    true = series[train + 1 :]
    # The last known year over and over, each time a year's growth higher.
    year, growth = series[train - 11 : train + 1], series[train] - series[train - 12]
    month = np.arange(TEST)
    plain = year[month % 12] + growth * (month // 12 + 1)
    print(f"all {TEST} months ahead, without looking")
    print(f"  {'as a year before':20} {np.abs(true - plain).mean():.3f}")
    print(f"  {'LSTM':20} {np.abs(true - ahead).mean():.3f}")


if __name__ == "__main__":
    main()
