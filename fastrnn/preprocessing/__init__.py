"""From raw data to arrays: `sequence` pads, `text` turns words into ids and back, `timeseries` cuts
series into sequences."""

from fastrnn.preprocessing import sequence, text

__all__ = ["sequence", "text", "timeseries_dataset_from_array"]


def __getattr__(name):
    if name == "timeseries_dataset_from_array":
        from fastrnn.preprocessing.timeseries import timeseries_dataset_from_array

        return timeseries_dataset_from_array
    raise AttributeError(f"module 'fastrnn.preprocessing' has no attribute {name!r}")
