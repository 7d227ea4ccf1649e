"""What X's archives and its first streams share: how they write moments, texts and entities."""

from __future__ import annotations

import datetime as dt
from json.encoder import encode_basestring as quoted

from townsquare.town.formats import escaped, short_link
from townsquare.town.posts import Post


def ctime(ms: int) -> str:
    """A moment as X's first API writes it, to the second."""
    return dt.datetime.fromtimestamp(ms // 1000, dt.UTC).strftime("%a %b %d %H:%M:%S +0000 %Y")


def words(post: Post) -> tuple[str, str]:
    """(full_text, entities as JSON): escaped, links shortened, with the mention that a reply begins with."""
    text, urls, mentions = escaped(post.text), [], ""
    for number, link in enumerate(post.links):
        short = short_link(post, number)
        text = text.replace(link, short, 1)
        urls.append(f'{{"url":"{short}","expanded_url":"{link}","display_url":"{link[8:34]}","indices":["0","23"]}}')
    if post.quote is not None:
        short = short_link(post, 9)
        text += f" {short}"
        link = f"https://x.com/{post.quote.person.handle}/status/{post.quote.id}"
        urls.append(f'{{"url":"{short}","expanded_url":"{link}","display_url":"{link[8:34]}","indices":["0","23"]}}')
    if post.parent is not None:
        other = post.parent.person
        text = f"@{other.handle} {text}"
        mentions = (
            f'{{"name":{quoted(other.name)},"screen_name":"{other.handle}","indices":["0","{len(other.handle) + 1}"],'
            f'"id_str":"{other.id}","id":"{other.id}"}}'
        )
    return text, f'{{"hashtags":[],"symbols":[],"user_mentions":[{mentions}],"urls":[{",".join(urls)}]}}'
