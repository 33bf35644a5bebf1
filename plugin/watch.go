package plugin

import (
	"context"
	"maps"
	"os"
	"time"
)

// stamp tells whether a file is still the same; the zero one: there is none.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(file string) (s stamp) {
	if i, err := os.Stat(file); err == nil {
		s = stamp{i.ModTime(), i.Size()}
	}
	return s
}

// look notes what a file is like before it is read, and tells whether it is there.
func (b *build) look(file string) bool {
	s := stampOf(file)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.files[file]; !known {
		b.files[file] = s
	}
	return s != stamp{}
}

// watchEvery is how often files are looked at. Asking costs a microsecond a file, works
// over any file system and follows links that are moved, as those of a ConfigMap are.
const watchEvery = time.Second

// Watch loads the plugins anew when a file that they were made of changes, until ctx
// ends. One that is still being written is left alone until it rests.
func (l *Loader) Watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var seen map[string]stamp // what has changed, as it was a moment ago
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		seen = l.watched(seen)
	}
}

// watched is one look. before is what the last one found changed.
func (l *Loader) watched(before map[string]stamp) map[string]stamp {
	changed := l.changed()
	if len(changed) == 0 || !maps.Equal(changed, before) {
		return changed
	}
	for f := range changed {
		l.Log.Info("a file of the plugins has changed", "file", f)
	}
	_ = l.Again() // it has said so
	return nil
}

func (l *Loader) changed() map[string]stamp {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]stamp{}
	for f, was := range l.files {
		if now := stampOf(f); now != was {
			out[f] = now
		}
	}
	return out
}
