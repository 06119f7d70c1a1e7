package pgserver

import "golang.org/x/sys/unix"

// enoughMemory is what a cluster, its log of changes and a few hundred small
// databases need. A container's default of 64 MiB is not.
const enoughMemory = 1 << 30

// memoryDir is a directory in memory, empty when there is none or it is small.
func memoryDir() string {
	const dir = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return ""
	}
	if fs.Bavail*uint64(fs.Bsize) < enoughMemory || unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		return ""
	}
	return dir
}
