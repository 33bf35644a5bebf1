package scheduler

// mutants are the broken variants by name.
var mutants = map[string]mutation{
	"NoTail": noTail, "NoShortWait": noShortWait, "GrantUncommitted": grantUncommitted, "RecvLease": recvLease,
	"NoExpiry": noExpiry, "NoNotBefore": noNotBefore, "DupReturn": dupReturn, "WallClock": wallClock,
	"ReleaseAtGrant": releaseAtGrant, "NoDrift": noDrift, "OpenForever": openForever, "ClockMax": clockMax,
	"NoMax": noMax, "NoFence": noFence, "NoFenceNoMax": noFenceNoMax,
	"SlotsAtOnce": slotsAtOnce, "SlotRecvLease": slotRecvLease, "ForceEarly": forceEarly, "LostHistory": lostHistory,
	"PartsAtOnce": partsAtOnce,
}
