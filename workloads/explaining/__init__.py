"""Drawing of explanations: pictures with what counts in them, the gloss timeline, one slide, one film."""
