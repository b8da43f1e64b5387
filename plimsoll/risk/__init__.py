"""The risk model: pure mathematics, arrays in and arrays out. No I/O, no clock, no names of portfolios."""
