from .contract import inspect_export as inspect_export
from .saved_model import SavedModel as SavedModel
from .session import SavedModelSession as SavedModelSession
from .signatures import ScoredPair as ScoredPair
