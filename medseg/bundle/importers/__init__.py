"""From other tools' model folders to bundles, without running any of their code."""
