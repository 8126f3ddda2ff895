// Numbers of the streams this process makes. There is one counter for all links: a link that is let go and taken again
// meets a peer that still knows the streams of the former one (peer-channel.md 46).

let last = 0;

export function nextStreamNumber(): number {
  last += 1;
  return last;
}
