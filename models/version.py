"""The version of signray, as bundles name it; a `ray job` has the code without the installed package, so it stands here."""

VERSION = "0.1.0"
