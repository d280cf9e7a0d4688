//! The log on a crashing disk: every cut and every flipped bit of a small log.
