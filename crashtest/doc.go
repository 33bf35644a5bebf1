// Package crashtest answers one question: is mail that we said 250 to still there after kill -9 and after a power cut?
//
// Its tests run the built program as an operator would, feed it over SMTP, take its mail in a sink of their own, kill it at
// random moments and compare three books: what was acknowledged, what the sink took, and what the program itself says is
// queued or in doubt. For a power cut the data folder lies on crashtest/cutfs, which drops what was never synced. The program
// is built from cmd/tarishi, or is what CRASHTEST_BINARY names. `-tags soak` runs fifty kills and cuts instead of a few;
// `-crashtest.seed N` repeats a run's choices (not its timing). slowsync.sh measures what a slow disk costs.
//
// The harness is itself tested against small programs with known faults (a fake that never syncs, one that removes before it
// replaces, a disk that lies), and must find each of them. It never connects anywhere but to 127.0.0.1, and no part of it is
// in the product.
package crashtest
