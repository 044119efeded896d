"""From Python and notebooks: runs that exist, probes of labels of one's own, models in memory."""

from .activations import Activations
from .fit import Fitted, probe
from .model import Model, load
from .recording import Recording
from .run import Run, open_run
from .tokens import TokenView
from .transfer import Transfer

__all__ = ["Activations", "Fitted", "Model", "Recording", "Run", "TokenView", "Transfer", "load", "open_run", "probe"]
