"""TFX: how a model is produced, again and again."""
