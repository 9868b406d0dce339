"""Pictures, files and pages made from runs. Nothing here trains; torch is imported only when a run is sampled."""
