"""Story corpora: where the stories come from, among them a simulated story world."""
