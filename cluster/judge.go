package cluster

// judge tells damage from what a kill or a power cut leaves.
func (p *preparation) judge(blocks []streamBlock) {
	shrunk := map[string]bool{}
	for _, d := range p.list {
		shrunk[d.File] = true
	}
	newest := int64(0)
	for _, s := range p.scans {
		newest = max(newest, s.last)
	}
	recent := func(at int64) bool { return at != 0 && newest-at <= int64(p.Unsynced) }
	for i := range blocks {
		b := &blocks[i]
		s, ok := p.scans[b.path]
		if !ok || shrunk[b.path] {
			continue
		}
		if s.bad < 0 {
			if b.size == 0 && !b.latest && p.clean == nil && !recent(p.scans[blocks[i+1].path].first) {
				p.damaged(Damage{Stream: b.stream, File: b.path, Offset: 0, Why: "the file is empty", block: &b.blockFile})
			}
			continue
		}
		unwritten := false
		switch {
		case p.clean != nil: // all was written and closed
		case !s.more:
			// Nothing whole follows: the write that the stop interrupted. Before the
			// newest block, only where a power cut can have taken two blocks' ends.
			unwritten = b.latest || recent(s.last)
		case s.lostPage:
			// Of what was never synced a disk may keep a later page and not an earlier
			// one. A sync covers all that was written before, so nothing behind the
			// lost page had been synced, and nobody was told that it was stored.
			unwritten = s.moreAt == 0 || recent(s.moreAt)
		}
		if unwritten {
			p.Log.Warn("the end of this file was being written when the node stopped; it is cut off, nothing there had been acknowledged",
				"stream", b.stream, "file", b.path, "offset", s.bad, "octets", b.size-int64(s.bad), "reason", s.why)
			continue
		}
		p.damaged(Damage{Stream: b.stream, File: b.path, Offset: int64(s.bad), Why: s.why, block: &b.blockFile})
	}
}
