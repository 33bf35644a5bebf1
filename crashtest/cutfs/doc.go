// Package cutfs answers one question: if the power had failed now, what would be on the disk?
//
// It is a FUSE file system for tests. All of it lives in memory, twice: as programs see it, and as a disk would hold it.
// A write is on the disk after fsync, fdatasync or syncfs, never before. Creating, renaming, removing and truncating are
// entered in a log and reach the disk in that order, at the latest when something that belongs to the log is synced, as
// with ext4 in data=ordered mode. Freeze stops the world between two operations; Cut then says what survived, as an Image
// that can be looked at, written to a folder, or mounted again.
//
// The model, and where it comes from:
//
//   - fsync of a file writes its data and, if the file (size, name, mode, times) has changed since the last commit, commits
//     the whole log: jbd2 has one running transaction, so it is all or nothing. fsync of a file whose inode has not changed
//     since the last commit leaves the log alone, even if others have changed: a barrier that syncs the wrong file is found out.
//   - fdatasync leaves the log alone when only bytes inside the file's size changed on disk.
//   - Data that is not synced does not survive on the strength of a commit: with delayed allocation the file has its name
//     and a size of 0 (never foreign bytes).
//   - A rename over an existing name carries the data written so far (ext4's auto_da_alloc): whoever sees the new name sees the data.
//   - A page (4 KiB) is written as it stood at some moment, so of the unsynced writes to one page a prefix survives, and
//     each page chooses for itself; between pages there is no order, and a lost page under a kept one reads as zeros.
//
// Short of a power cut a disk may also be slow (every sync takes longer), full (ENOSPC beyond a size) or stalled (Freeze), at
// any moment and for as long as a test likes.
//
// It is stricter than a disk in one place: writes after a truncation that was lost are lost as well.
//
// Cutfs holds everything in memory and forgets it at Unmount; it never touches the folder an image was read from, and it is
// never part of the product.
package cutfs
