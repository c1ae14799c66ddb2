"""TensorFlow without Keras, and with TF Text's ops.

`import tensorflow` imports Keras only to register its optimizers, and goes on where
that fails. A server has no use for them: leaving them out halves its start (4 s against
7 s) and saves 110 MB. Keras stays importable for whoever imports it later.
"""

import glob
import importlib.util
import os
import sys
import threading
from typing import Any

# The second where TF_USE_LEGACY_KERAS is set, as it is in every child of a process
# that imported Transform.
_EAGER = ("keras.src.optimizers", "tf_keras.src.optimizers")
_lock = threading.Lock()
_text_ops_loaded = False


def tensorflow() -> Any:
    """The `tensorflow` module; its first import leaves Keras out."""
    with _lock:
        # Elsewhere begun imports are left alone: a hole in the middle would break them.
        bare = not any(
            name in sys.modules for name in ("tensorflow", "keras", "tf_keras")
        )
        if bare:
            sys.modules.update(dict.fromkeys(_EAGER))  # type: ignore[arg-type]
        try:
            import tensorflow as tf
        finally:
            if bare:
                for name in _EAGER:
                    del sys.modules[name]
    return tf


def load_text_ops() -> None:
    """Registers TF Text's ops, which tokenizers in a SavedModel need.

    Their libraries are loaded alone because `import tensorflow_text` defines Keras
    layers. Does nothing where TF Text is not installed: only models with text need it.
    """
    global _text_ops_loaded
    tf = tensorflow()
    with _lock:
        spec = importlib.util.find_spec("tensorflow_text")
        if _text_ops_loaded or spec is None:
            return
        for folder in spec.submodule_search_locations or ():
            pattern = os.path.join(folder, "python", "ops", "*.so")
            for library in sorted(glob.glob(pattern)):
                tf.load_op_library(library)
        _text_ops_loaded = True
