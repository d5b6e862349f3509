"""A run folder with a log of its training, as the bundles write it."""

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

BATCHES, SECONDS = 4, 60  # of an epoch
BEGIN = 1_700_000_000.0


def write_log(run, epochs, planned=10, val_interval=2):
    """The log: losses of batches and epochs under one tag, and Dice; epoch k has the loss 1 / k."""
    (run / "events").mkdir(parents=True)
    (run / "config.yaml").write_text(f"max_epochs: {planned}\n")
    log = EventFileWriter(str(run / "events"))
    for epoch in range(1, epochs + 1):
        begin, end = BEGIN + (epoch - 1) * SECONDS, BEGIN + epoch * SECONDS
        for batch in range(1, BATCHES + 1):
            step = (epoch - 1) * BATCHES + batch
            _put(log, begin + batch, "train_loss", step, 1 / epoch + 0.1 * (batch - 2.5))
        if epoch % val_interval == 0:
            _put(log, end - 1, "val_dice", epoch, 0.1 * epoch)
        _put(log, end, "train_dice", epoch, 0.05 * epoch)
        _put(log, end, "train_loss", epoch, 1 / epoch)
    log.close()


def _put(log, time, tag, step, value):
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    log.add_event(Event(wall_time=time, step=step, summary=summary))
